//! Families of metrics, one after the other.

use std::fmt::Result;

use instep_edge::{STEPS_US, Times};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The page as far as it is written. The form adds `_total` to counters and the unit to times.
pub(super) struct Page<'a>(DescriptorEncoder<'a>);

impl<'a> Page<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        metric.encode_info(&labels)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        put_counter(&mut metric, value)
    }

    pub(super) fn counter_f64(&mut self, name: &str, help: &str, value: f64) -> Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, f64, f64>(&value, None)
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) -> Result {
        self.counters_by(name, help, [label], values.into_iter().map(|(of, value)| ([of], value)))
    }

    pub(super) fn counters_by<const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        names: [&str; LABELS],
        values: impl IntoIterator<Item = ([String; LABELS], u64)>,
    ) -> Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            let labels: Vec<_> = names.into_iter().zip(of).collect();
            put_counter(&mut metric.encode_family(&labels)?, value)?;
        }
        Ok(())
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) -> Result {
        self.gauges_by(name, help, [label], values.into_iter().map(|(of, value)| ([of], value)))
    }

    pub(super) fn gauges_by<const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        names: [&str; LABELS],
        values: impl IntoIterator<Item = ([String; LABELS], u64)>,
    ) -> Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            let labels: Vec<_> = names.into_iter().zip(of).collect();
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A histogram of times.
    pub(super) fn times(&mut self, name: &str, help: &str, times: &Times) -> Result {
        let unit = Some(&Unit::Seconds);
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        let longest = STEPS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<_> = longest.zip(times.steps).collect();
        let sum = times.sum_us as f64 / 1e6;
        metric.encode_histogram::<NoLabelSet>(sum, times.steps.iter().sum(), &buckets, None)
    }
}

fn put_counter(metric: &mut MetricEncoder<'_>, value: u64) -> Result {
    metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}
