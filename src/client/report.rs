//! What services say of themselves, and clients of them.

use hyper::Method;
use serde_json::{Value, json};

use super::path::{check_path, instance_path};
use super::{Client, ClientError};

impl Client {
    /// Reports that an instance is well, for its check of type `ttl`, and returns `{"check": {…}}` with the opinion that
    /// then stands and `report_by`, before which the next report is due. `reason` is what else there is to say.
    ///
    /// # Errors
    /// As [`Client::request`]; a refusal with status 404 when there is no such instance: register again.
    pub async fn pass(&self, service: &str, id: &str, check: &str, reason: Option<&str>) -> Result<Value, ClientError> {
        self.report_check(&format!("{}/pass", check_path(service, id, check)), reason).await
    }

    /// Reports that an instance fails, and why, as [`Client::pass`] does that it is well.
    ///
    /// # Errors
    /// As [`Client::pass`].
    pub async fn fail(&self, service: &str, id: &str, check: &str, reason: Option<&str>) -> Result<Value, ClientError> {
        self.report_check(&format!("{}/fail", check_path(service, id, check)), reason).await
    }

    /// Reports that an instance could not be used, so that it is probed at once, and returns `{"probed": …}`. It leaves DNS
    /// if probes find the same.
    ///
    /// # Errors
    /// As [`Client::request`]; a refusal with status 404 when there is no such instance.
    pub async fn report_failed(&self, service: &str, id: &str, failed: &str) -> Result<Value, ClientError> {
        let path = format!("{}/report", instance_path(service, id));
        self.repeatable(Method::POST, &path, Some(&json!({ "failed": failed }))).await
    }

    async fn report_check(&self, path: &str, reason: Option<&str>) -> Result<Value, ClientError> {
        let body = reason.map(|reason| json!({ "reason": reason }));
        self.repeatable(Method::POST, path, body.as_ref()).await
    }
}
