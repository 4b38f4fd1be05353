//! Leases that several instances share.

use std::time::Duration;

use hyper::Method;
use serde_json::json;

use super::path::lease_path;
use super::registration::text;
use super::shape::Lease;
use super::{Client, ClientError};

impl Client {
    /// Grants a lease that instances can join with [`Registration::on_lease`](super::Registration::on_lease). It lasts
    /// for `ttl` (whole seconds, 2 s to 24 h) after this and after each renewal.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn grant(&self, ttl: Duration) -> Result<Lease, ClientError> {
        let body = json!({"ttl": text(ttl)});
        self.read(self.request(Method::POST, "/v1/leases", Some(&body), &[]).await?.body)
    }

    /// Looks at a lease.
    ///
    /// # Errors
    /// As [`Client::request`]; a refusal with status 404 when it is not alive.
    pub async fn lease(&self, id: &str) -> Result<Lease, ClientError> {
        self.read(self.request(Method::GET, &lease_path(id), None, &[]).await?.body)
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// As [`Client::request`]; a refusal with status 410 when it is not alive: grant another and register again.
    pub async fn renew_lease(&self, id: &str) -> Result<Lease, ClientError> {
        self.read(self.repeatable(Method::POST, &format!("{}/renew", lease_path(id)), None).await?)
    }

    /// Ends a lease: every instance on it leaves at once.
    ///
    /// # Errors
    /// As [`Client::request`]; a refusal with status 404 when it is not alive.
    pub async fn revoke(&self, id: &str) -> Result<(), ClientError> {
        self.bodyless(Method::DELETE, &lease_path(id)).await.map(drop)
    }
}
