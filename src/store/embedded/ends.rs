//! What caches may hold for longer than answers say, of more than one service: numbers of `meta`.

use redb::{ReadableTable, Table};

use super::schema::{FORGOTTEN_SPAN, FORGOTTEN_UNTIL, UNASKING_SPAN, UNASKING_UNTIL};
use crate::model::{Timestamp, Ttl};
use crate::registry::{End, Wide};

/// What is kept. A time that makes no sense is the longest.
pub(super) fn read(meta: &impl ReadableTable<&'static str, u64>) -> Result<Wide, redb::StorageError> {
    let end = |until: &str, span: &str| -> Result<Option<End>, redb::StorageError> {
        let (until, span) = (meta.get(until)?.map(|value| value.value()), meta.get(span)?.map(|value| value.value()));
        let span = span.map_or(Ttl::MAX, |seconds| Ttl::spanning(std::time::Duration::from_secs(seconds)));
        Ok(until.map(|until| End { until: Timestamp::from_millis(until), span }))
    };
    Ok(Wide { unasking: end(UNASKING_UNTIL, UNASKING_SPAN)?, forgotten: end(FORGOTTEN_UNTIL, FORGOTTEN_SPAN)? })
}

/// Keeps what there is. What is past may stand there until something else comes in its place.
pub(super) fn write(meta: &mut Table<'_, &'static str, u64>, lingering: Wide) -> Result<(), redb::StorageError> {
    let Wide { unasking, forgotten } = lingering;
    for (end, until, span) in [(unasking, UNASKING_UNTIL, UNASKING_SPAN), (forgotten, FORGOTTEN_UNTIL, FORGOTTEN_SPAN)]
    {
        if let Some(end) = end {
            meta.insert(until, end.until.as_millis())?;
            meta.insert(span, u64::from(end.span.secs()))?;
        }
    }
    Ok(())
}
