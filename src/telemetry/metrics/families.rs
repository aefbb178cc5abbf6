//! Metric families of each shape, written to an OpenMetrics encoder.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::labels::{Handler, METHODS, STATUSES, status_label};

/// `status` of the licensing API, and the label of its series.
const STATUS_NAMES: [(u8, &str); 6] = [
    (0, "not_loaded"),
    (1, "valid"),
    (3, "invalid"),
    (4, "not_found"),
    (5, "expired"),
    (6, "invalid_subject"),
];

/// The encoder of one scrape.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// A gauge of Unix seconds, where there are any.
    pub(super) fn timestamp(&mut self, name: &str, help: &str, at: Option<u64>) -> fmt::Result {
        at.map_or(Ok(()), |at| self.gauge(name, help, i64::try_from(at).unwrap_or(i64::MAX)))
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// A counter for each set of labels.
    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        series.into_iter().try_for_each(|(labels, value)| {
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    /// A constant 1 whose labels are the message.
    pub(super) fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: impl EncodeLabelSet,
    ) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }

    /// `http_requests_total`, for what has happened: the whole table would be fifteen thousand zeros.
    pub(super) fn requests(&mut self, counts: &[u64]) -> fmt::Result {
        let seen = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let series = seen.map(|(at, count)| {
            let (line, status) = (at / STATUSES, status_label(at % STATUSES));
            let handler = Handler::ALL[line / METHODS.len()].as_str().to_owned();
            let method = METHODS[line % METHODS.len()].to_owned();
            ([("handler", handler), ("method", method), ("code", status)], *count)
        });
        self.counters("http_requests", "Requests answered", series)
    }

    /// `license_status`: 1 for the series of the present status, 0 for the others.
    pub(super) fn status(&mut self, present: u8) -> fmt::Result {
        let help = "Whether the license has this status";
        let mut encoder =
            self.0.encode_descriptor("license_status", help, None, MetricType::Gauge)?;
        STATUS_NAMES.iter().try_for_each(|(status, name)| {
            let labels = [("status", *name)];
            encoder.encode_family(&labels)?.encode_gauge(&i64::from(*status == present))
        })
    }
}
