//! The socket: connections are tasks of their own, so that the daemon never waits for a client.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::api::{ApiError, Envelope, MAX_LINE, Request, Response, VERSION};

/// A request and where its responses go.
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) reply: mpsc::Sender<Response>,
}

/// Clients at a time; more wait in the socket's backlog.
const MAX_CLIENTS: usize = 32;
/// Responses that may wait for a client; a trace beyond that misses packets.
const QUEUE: usize = 256;
/// A client that sends or takes nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(30);

/// Binds the socket. A file that is there is of an earlier life: the caller holds the lock.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Accepts clients until the daemon ends.
pub(crate) async fn serve(listener: UnixListener, jobs: mpsc::Sender<Job>) {
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let jobs = jobs.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Err(error) = client(stream, jobs).await {
                        tracing::debug!("client: {error}");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: trying again at once would burn the core.
                tracing::warn!("cannot accept a client: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn client(stream: UnixStream, jobs: mpsc::Sender<Job>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        let request = match timeout(IDLE, read_line(&mut reader, &mut line)).await {
            Err(_) | Ok(Ok(false)) => return Ok(()),
            Ok(Ok(true)) => parse(&line),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                let refusal = ApiError::new(format!("a request has at most {MAX_LINE} bytes"));
                return send(&mut writer, Response::Error(refusal)).await;
            }
            Ok(Err(error)) => return Err(error),
        };
        line = Vec::new();
        match request {
            Ok(request) => {
                let (reply, mut responses) = mpsc::channel(QUEUE);
                if jobs.send(Job { request, reply }).await.is_err() {
                    return Ok(());
                }
                loop {
                    tokio::select! {
                        response = responses.recv() => match response {
                            Some(response) => send(&mut writer, response).await?,
                            None => break,
                        },
                        // Nothing is expected while an answer is on its way but the end of the client.
                        gone = is_gone(&mut reader) => if gone { return Ok(()) } else { break_wait().await },
                    }
                }
            }
            Err(error) => send(&mut writer, Response::Error(error)).await?,
        }
    }
}

/// Resolves when the client has closed its side (true) or has sent more (false).
async fn is_gone(reader: &mut BufReader<OwnedReadHalf>) -> bool {
    !matches!(reader.fill_buf().await, Ok(bytes) if !bytes.is_empty())
}

/// A client that talks before it was answered: its bytes stay in the buffer, and looking again would spin.
async fn break_wait() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn parse(line: &[u8]) -> Result<Request, ApiError> {
    let value: serde_json::Value = serde_json::from_slice(line)
        .map_err(|error| ApiError::new(format!("expected a JSON object: {error}")))?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(VERSION)) {
        let found = version.map_or_else(|| "none".to_owned(), |v| v.to_string());
        return Err(ApiError::new(format!(
            "this daemon speaks version {VERSION} of the API, the request says {found}; use `sluice` of the same package"
        )));
    }
    serde_json::from_value::<Envelope<Request>>(value)
        .map(|envelope| envelope.message)
        .map_err(|error| ApiError::new(format!("the request is not understood: {error}")))
}

/// Reads a line without its end; false at the end of the stream, `InvalidData` for a line that is too long.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>, line: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(bytes.len());
        if line.len() + taken > MAX_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        line.extend_from_slice(&bytes[..taken]);
        reader.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(true);
        }
    }
}

async fn send(writer: &mut OwnedWriteHalf, response: Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Envelope::new(response))?;
    line.push(b'\n');
    timeout(IDLE, writer.write_all(&line)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
