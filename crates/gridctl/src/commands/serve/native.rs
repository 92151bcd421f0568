//! Models of `gridctl train`, which answer in this process.
//! Invariant: no more of them compute at once than there are processors, however long one takes.

use std::sync::Arc;
use std::time::Duration;

use gridctl_trainer::KeptModel;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::model::ModelError;

/// A model, and how many may ask it at once.
pub(super) struct NativeModel {
    model: Arc<KeptModel>,
    seats: Arc<Semaphore>,
    within: Duration,
}

impl NativeModel {
    pub(super) fn new(model: Arc<KeptModel>, within: Duration) -> Self {
        let seats = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { model, seats: Arc::new(Semaphore::new(seats)), within }
    }

    /// The answer to a request.
    pub(super) async fn ask(&self, request: Map<String, Value>) -> Result<Value, ModelError> {
        let answer = async {
            let seat = Arc::clone(&self.seats).acquire_owned().await.map_err(|_| ModelError::Busy)?;
            let model = Arc::clone(&self.model);
            let work = move || {
                let _seat = seat;
                model.predict(request.get("data").unwrap_or(&Value::Null))
            };
            let result = spawn_blocking(work).await.map_err(|_| ModelError::Busy)?;
            Ok(json!({ "result": result? }))
        };
        timeout(self.within, answer).await.unwrap_or(Err(ModelError::Late(self.within)))
    }
}
