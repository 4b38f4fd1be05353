//! What all servers hold: services of three instances.

use std::fmt::Write;

pub(crate) const ZONE: &str = "services.test";
pub(crate) const INSTANCES: usize = 3;
/// Operations of one batch.
const BATCH: usize = 1000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Data {
    pub(crate) services: usize,
}

impl Data {
    /// Number, place in the service, and address of every instance.
    fn instances(self) -> impl Iterator<Item = (usize, usize, String)> {
        let each = |service: usize| {
            (0..INSTANCES).map(move |n| {
                let number = service * INSTANCES + n;
                (service, n, format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255))
            })
        };
        (0..self.services).flat_map(each)
    }

    /// A master file (RFC 1035 §5).
    pub(crate) fn zone_file(self) -> String {
        let mut text =
            format!("$ORIGIN {ZONE}.\n$TTL 5\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\nns A 127.0.0.1\n");
        for (service, n, address) in self.instances() {
            let _ = writeln!(text, "s{service} A {address}\ni{n}.s{service} A {address}");
            let _ = writeln!(text, "_s{service}._tcp SRV 0 1 8080 i{n}.s{service}");
        }
        text
    }

    /// Bodies that register everything.
    pub(crate) fn batches(self) -> Vec<String> {
        let operation = |(service, n, address): (usize, usize, String)| {
            format!(r#"{{"op":"register","service":"s{service}","id":"i{n}","address":"{address}","port":8080}}"#)
        };
        let operations: Vec<String> = self.instances().map(operation).collect();
        operations.chunks(BATCH).map(|chunk| format!(r#"{{"operations":[{}]}}"#, chunk.join(","))).collect()
    }
}
