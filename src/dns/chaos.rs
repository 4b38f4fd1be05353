//! Questions about the server itself, in the class CH (RFC 4892).

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::zone::Answer;

/// What the server says of itself; what is empty it keeps to itself.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// `id.server` and `hostname.bind`.
    pub server_id: String,
    /// `version.bind` and `version.server`.
    pub server_version: String,
}

impl Identity {
    /// Answers a question of the class CH.
    pub(super) fn answer(&self, name: &Name, record_type: RecordType) -> Answer {
        let text = match name.to_lowercase().to_ascii().as_str() {
            "id.server." | "hostname.bind." => &self.server_id,
            "version.bind." | "version.server." => &self.server_version,
            _ => "",
        };
        if text.is_empty() || !matches!(record_type, RecordType::TXT | RecordType::ANY) {
            return Answer::empty(ResponseCode::Refused);
        }
        let mut record = Record::from_rdata(name.clone(), 0, RData::TXT(TXT::from_bytes(vec![text.as_bytes()])));
        record.dns_class = DNSClass::CH;
        Answer { authoritative: true, answers: vec![record], ..Answer::empty(ResponseCode::NoError) }
    }
}
