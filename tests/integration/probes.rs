//! Probes of servers that others wrote: TLS by rustls, gRPC by tonic; through the whole server.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use hickory_proto::rr::RecordType;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::support::program::Program;
use crate::support::server::{ROLLCALL, Server};
use crate::support::wait::until;

/// Waits until a check of an instance thinks this of it, for this reason.
fn until_thought(server: &Server, id: &str, health: &str, reason: Option<&str>) {
    until(&format!("{id} is {health} because of {reason:?}"), || {
        let instance = server.instance("web", id).ok_or("there is no such instance")?;
        let check = &instance["checks"][0];
        let said = check["last_error"].as_str();
        let as_expected = check["health"] == health && said.is_none() == reason.is_none();
        if as_expected && reason.is_none_or(|reason| said.is_some_and(|said| said.contains(reason))) {
            Ok(())
        } else {
            Err(check.to_string())
        }
    });
}

fn body(address: SocketAddr, check: Value) -> Value {
    json!({"address": address.ip(), "port": address.port(), "shared_address": true, "checks": [check]})
}

/// A server of HTTPS with a certificate for a name, and the certificate of who signed it.
fn serve_https(name: &str) -> (SocketAddr, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let params = (CertificateParams::new([name.to_owned()]).unwrap(), Issuer::new(params, authority_key));
    let certificate = params.0.signed_by(&key, &params.1).unwrap().der().clone();
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = Arc::new(server.with_single_cert(vec![certificate], private).unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(server.clone()).unwrap(), stream.unwrap());
            let mut request = [0; 1024];
            if stream.read(&mut request).is_ok_and(|octets| octets > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                let _ = stream.flush();
            }
        }
    });
    (address, authority)
}

#[test]
fn https_instances_are_answered_when_their_certificate_is_good() {
    let (target, authority) = serve_https("web.example");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
    let words = ["serve", "--memory", "--dns=127.0.0.1:0", "--http=127.0.0.1:0", "--check-ca"];
    let server = Server::launch(Command::new(ROLLCALL).args(words).arg(&file));
    let check = |fields: Value| {
        let mut check = json!({"type": "https", "interval": "1s", "timeout": "1s", "fall": 1});
        check.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body(target, check)
    };
    server.register("web", "named", &check(json!({"server_name": "web.example"})));
    server.register("web", "any", &check(json!({"tls_verify": false})));
    server.register("web", "nameless", &check(json!({})));
    until_thought(&server, "named", "passing", None);
    until_thought(&server, "any", "passing", None);
    until_thought(&server, "nameless", "critical", Some("is not for 127.0.0.1"));
    let services = server.ask("web.svc.internal.", RecordType::SRV);
    assert_eq!(services.answers.len(), 2, "{services}");
    server.stop();

    // Without the file nobody knows who signed it.
    let server = Server::launch(Command::new(ROLLCALL).args(&words[..4]));
    server.register("web", "named", &check(json!({"server_name": "web.example"})));
    until_thought(&server, "named", "critical", Some("unknown issuer"));
    server.stop();
}

#[test]
fn a_file_of_no_certificates_ends_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let serve = ["serve", "--memory", "--dns=127.0.0.1:0", "--http=127.0.0.1:0", "--check-ca", path];
    for words in [&serve[..], &["check-config", "--memory", "--check-ca", path]] {
        let (code, output) = Program::start(Command::new(ROLLCALL).args(words)).ended();
        let told = format!("--check-ca {path}: there is no certificate in it");
        assert!(code == Some(2) && output.lines().count() == 1 && output.contains(&told), "{code:?} {output}");
    }
}

/// A gRPC server with a health service that is told what to say, until the runtime is dropped.
fn serve_grpc(runtime: &tokio::runtime::Runtime) -> (SocketAddr, HealthReporter) {
    let (reporter, service) = health_reporter();
    let incoming = runtime.block_on(async { TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap() });
    let address = incoming.local_addr().unwrap();
    runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    (address, reporter)
}

#[test]
fn grpc_instances_are_answered_while_they_say_that_they_serve() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (target, reporter) = serve_grpc(&runtime);
    let say = |status| runtime.block_on(reporter.set_service_status("payments.v1.Api", status));
    say(ServingStatus::Serving);
    let server = Server::start();
    let check = |service: &str| json!({"type": "grpc", "service": service, "interval": "1s", "fall": 1});
    server.register("web", "g1", &body(target, check("payments.v1.Api")));
    server.register("web", "g2", &body(target, check("other.v1.Api")));
    until_thought(&server, "g1", "passing", None);
    until_thought(&server, "g2", "critical", Some("NOT_FOUND"));
    say(ServingStatus::NotServing);
    until_thought(&server, "g1", "critical", Some("NOT_SERVING"));
    say(ServingStatus::Serving);
    until_thought(&server, "g1", "passing", None);
    server.stop();
}
