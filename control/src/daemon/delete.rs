//! Deleting mappings at the wish of an operator (MAP-15). The daemon logs it: a session that ends without a packet is a riddle
//! to whoever looks for the reason later.

use std::time::Duration;

use sluice_shm::{Address, Command, Reply};

use super::Daemon;
use crate::api::{ApiError, DeleteRequest};

/// Longer than the dataplane gives its workers.
const PATIENCE: Duration = Duration::from_secs(25);

impl Daemon {
    /// Has the dataplane delete mappings. Returns how many sessions they had.
    pub(crate) async fn delete_sessions(&mut self, request: DeleteRequest) -> Result<u64, ApiError> {
        self.look();
        if !self.link.is_running() {
            return Err(ApiError::new("no dataplane is running, so there is no session to delete"));
        }
        let DeleteRequest { inside, port, protocol } = request;
        let command = Command::RemoveMappings { inside: Address::from(inside), port, protocol };
        let reply = self.link.call(command, PATIENCE).await;
        match reply.map_err(|error| ApiError::new(format!("the sessions were not all deleted: {error}")))? {
            Reply::Removed { sessions, .. } => {
                tracing::info!(%inside, port, protocol = protocol.map(|p| p.to_string()), sessions, "mappings deleted");
                Ok(sessions)
            }
            other => {
                Err(ApiError::new(format!("the dataplane gave another answer than was asked for: {other:?}")))
            }
        }
    }
}
