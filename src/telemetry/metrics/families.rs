//! Metric families of each shape, written to an OpenMetrics encoder.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::histogram::Sums;
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
    /// The head of a family.
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        self.family(name, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// A gauge for each set of labels.
    pub(super) fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, i64)>,
    ) -> fmt::Result {
        let mut encoder = self.family(name, help, MetricType::Gauge)?;
        series
            .into_iter()
            .try_for_each(|(labels, value)| encoder.encode_family(&labels)?.encode_gauge(&value))
    }

    /// A gauge of Unix seconds, if there are any.
    pub(super) fn timestamp(&mut self, name: &str, help: &str, at: Option<u64>) -> fmt::Result {
        at.map_or(Ok(()), |at| self.gauge(name, help, seconds(at)))
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut encoder = self.family(name, help, MetricType::Counter)?;
        encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// A counter for each set of labels.
    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.family(name, help, MetricType::Counter)?;
        series.into_iter().try_for_each(|(labels, value)| {
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    /// A histogram without labels.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[u64],
        sums: &Sums,
    ) -> fmt::Result {
        encode_histogram(self.family(name, help, MetricType::Histogram)?, bounds, sums)
    }

    /// A histogram for each handler.
    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[u64],
        series: &[Sums],
    ) -> fmt::Result {
        let mut encoder = self.family(name, help, MetricType::Histogram)?;
        Handler::ALL.iter().zip(series).try_for_each(|(handler, sums)| {
            let labels = [("handler", handler.as_str())];
            encode_histogram(encoder.encode_family(&labels)?, bounds, sums)
        })
    }

    /// A constant 1, described by its labels.
    pub(super) fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: impl EncodeLabelSet,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Info)?.encode_info(&labels)
    }

    /// `http_requests_total`, without series that are 0: the whole table has fifteen thousand.
    pub(super) fn requests(&mut self, counts: &[u64]) -> fmt::Result {
        let seen = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let series = seen.map(|(at, count)| {
            let (line, status) = (at / STATUSES, status_label(at % STATUSES));
            let handler = Handler::ALL[line / METHODS.len()].as_str().to_owned();
            let method = METHODS[line % METHODS.len()].to_owned();
            ([("handler", handler), ("method", method), ("code", status)], *count)
        });
        self.counters("license_gate_http_requests", "Requests answered", series)
    }

    /// `license_status`: 1 for the series of the present status, 0 for the others.
    pub(super) fn status(&mut self, present: u8) -> fmt::Result {
        let series =
            STATUS_NAMES.map(|(status, name)| ([("status", name)], i64::from(status == present)));
        self.gauges("license_gate_license_status", "Whether the license has this status", series)
    }

    /// A gauge of the process, named as it is everywhere, if the system gives its value.
    pub(super) fn process_gauge(
        &mut self,
        name: &str,
        help: &str,
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.family(name, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// A counter of the process, likewise.
    pub(super) fn process_counter(
        &mut self,
        name: &str,
        help: &str,
        value: Option<f64>,
    ) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        let mut encoder = self.family(name, help, MetricType::Counter)?;
        encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }
}

fn encode_histogram(mut encoder: MetricEncoder<'_>, bounds: &[u64], sums: &Sums) -> fmt::Result {
    let buckets = sums.buckets(bounds);
    encoder.encode_histogram::<NoLabelSet>(sums.seconds(), sums.count(), &buckets, None)
}

/// Unix seconds as a gauge has them.
pub(super) fn seconds(at: u64) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}
