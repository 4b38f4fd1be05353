//! Whether a registration would be taken, without registering.

use hyper::Method;
use serde_json::{Value, json};

use super::{Client, ClientError, Registration};

/// A lease that nobody has: ids are drawn from 2^63 numbers.
const NOBODYS_LEASE: &str = "7fffffffffffffff";

impl Client {
    /// Asks whether the server would take a registration now, and changes nothing: it is sent in a batch together with
    /// what cannot be carried out, so the whole batch is refused, for one reason or for the other.
    ///
    /// # Errors
    /// What registering would be refused with, and as [`Client::request`].
    pub async fn rehearse(&self, registration: &Registration) -> Result<(), ClientError> {
        let mut operation = registration.body().clone();
        operation.insert("op".to_owned(), json!("register"));
        operation.insert("service".to_owned(), json!(registration.service()));
        operation.insert("id".to_owned(), json!(registration.id()));
        let impossible = json!({"op": "renew", "lease": NOBODYS_LEASE});
        let batch = json!({"operations": [Value::Object(operation), impossible]});
        match self.repeatable(Method::POST, "/v1/batch", Some(&batch)).await {
            Ok(_) => Ok(()),
            Err(ClientError::Refused(mut problem)) => {
                let pointer = problem.pointer.as_deref().unwrap_or_default();
                if pointer.starts_with("/operations/1") {
                    return Ok(());
                }
                let of_registration = pointer.strip_prefix("/operations/0").map(str::to_owned);
                problem.pointer = of_registration.or(problem.pointer);
                Err(ClientError::Refused(problem))
            }
            Err(error) => Err(error),
        }
    }
}
