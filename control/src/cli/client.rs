//! Talking to the daemon: blocking, because a command does one thing.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sluice_shm::RunDir;

use super::CliError;
use crate::api::{Envelope, MAX_LINE, Request, Response};

/// Longer than the daemon waits for a dataplane.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Client {
    reader: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn connect(run: &RunDir) -> Result<Self, CliError> {
        let path = run.socket();
        let failed = |error| CliError::Connect { path: path.clone(), error };
        let stream = UnixStream::connect(&path).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Another patience, for answers that a person may wait for.
    pub(crate) fn set_patience(&self, patience: Duration) -> Result<(), CliError> {
        self.reader.get_ref().set_read_timeout(Some(patience)).map_err(|e| CliError::Broken(e.to_string()))
    }

    pub(crate) fn send(&mut self, request: Request) -> Result<(), CliError> {
        let broken = |error: std::io::Error| CliError::Broken(error.to_string());
        let mut line =
            serde_json::to_vec(&Envelope::new(request)).map_err(|e| CliError::Broken(e.to_string()))?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line).map_err(broken)
    }

    /// The next response; `None` at the end of the stream.
    pub(crate) fn receive(&mut self) -> Result<Option<Response>, CliError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(MAX_LINE as u64);
        bounded.read_until(b'\n', &mut line).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => CliError::Broken("no answer in time".to_owned()),
            _ => CliError::Broken(error.to_string()),
        })?;
        if line.is_empty() {
            return Ok(None);
        }
        let envelope: Envelope<Response> = serde_json::from_slice(&line)
            .map_err(|error| CliError::Broken(format!("an answer that is not understood ({error})")))?;
        match envelope.message {
            Response::Error(error) => Err(error.into()),
            response => Ok(Some(response)),
        }
    }

    /// One request, one response.
    pub(crate) fn ask(&mut self, request: Request) -> Result<Response, CliError> {
        self.send(request)?;
        self.receive()?.ok_or_else(|| CliError::Broken("it was closed without an answer".to_owned()))
    }
}

/// A response of another kind than the request asks for.
pub(crate) fn unexpected() -> CliError {
    CliError::Broken("an answer to another request".to_owned())
}
