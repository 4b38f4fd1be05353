//! Counting questions without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::Protocol;

/// Types that are counted by name; the last is for all others, so that no client can make a label.
const TYPES: [(&str, Option<RecordType>); 11] = [
    ("A", Some(RecordType::A)),
    ("AAAA", Some(RecordType::AAAA)),
    ("SRV", Some(RecordType::SRV)),
    ("TXT", Some(RecordType::TXT)),
    ("PTR", Some(RecordType::PTR)),
    ("HTTPS", Some(RecordType::HTTPS)),
    ("NS", Some(RecordType::NS)),
    ("SOA", Some(RecordType::SOA)),
    ("CNAME", Some(RecordType::CNAME)),
    ("ANY", Some(RecordType::ANY)),
    ("other", None),
];

/// Response codes that are counted by name; the last is for all others.
const RCODES: [(&str, Option<ResponseCode>); 8] = [
    ("NOERROR", Some(ResponseCode::NoError)),
    ("NXDOMAIN", Some(ResponseCode::NXDomain)),
    ("FORMERR", Some(ResponseCode::FormErr)),
    ("SERVFAIL", Some(ResponseCode::ServFail)),
    ("NOTIMP", Some(ResponseCode::NotImp)),
    ("REFUSED", Some(ResponseCode::Refused)),
    ("BADVERS", Some(ResponseCode::BADVERS)),
    ("other", None),
];

const PROTOCOLS: [(&str, Protocol); 2] = [("udp", Protocol::Udp), ("tcp", Protocol::Tcp)];

fn position<T: PartialEq>(table: &[(&str, Option<T>)], value: &T) -> usize {
    table.iter().position(|(_, known)| known.as_ref() == Some(value)).unwrap_or(table.len() - 1)
}

/// Questions by protocol, type and response code.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [[[AtomicU64; RCODES.len()]; TYPES.len()]; PROTOCOLS.len()],
    dropped: AtomicU64,
    truncated: AtomicU64,
}

impl Counters {
    /// Counts a reply. A message that could not be read counts under the type `other`.
    pub(super) fn replied(&self, protocol: Protocol, record_type: Option<RecordType>, rcode: ResponseCode) {
        let record_type = record_type.map_or(TYPES.len() - 1, |record_type| position(&TYPES, &record_type));
        let rcode = position(&RCODES, &rcode);
        self.requests[protocol as usize][record_type][rcode].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a message that got no reply.
    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a reply with TC set.
    pub(super) fn truncated(&self) {
        self.truncated.fetch_add(1, Ordering::Relaxed);
    }
}

/// Shows counters that something else holds.
#[derive(Debug)]
pub(super) struct Export(pub(super) std::sync::Arc<Counters>);

impl Collector for Export {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut requests = encoder.encode_descriptor(
            "dns_requests",
            "DNS requests by protocol, type and response code",
            None,
            MetricType::Counter,
        )?;
        for (protocol, types) in PROTOCOLS.iter().zip(&self.0.requests) {
            for (record_type, rcodes) in TYPES.iter().zip(types) {
                for (rcode, count) in RCODES.iter().zip(rcodes) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let labels = [("proto", protocol.0), ("type", record_type.0), ("rcode", rcode.0)];
                        let family = requests.encode_family(&labels)?;
                        ConstCounter::new(count).encode(family)?;
                    }
                }
            }
        }
        let single = [
            ("dns_dropped", "DNS messages that got no reply: responses, fragments, port 0", &self.0.dropped),
            ("dns_truncated", "DNS replies with TC set", &self.0.truncated),
        ];
        for (name, help, count) in single {
            let counter = ConstCounter::new(count.load(Ordering::Relaxed));
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}
