//! The two formats of `/metrics`.

/// A format of Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exposition {
    /// The text format 0.0.4, which every version of Prometheus and a browser read.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The text of [`Metrics::render`](super::Metrics::render) in this format.
    pub fn write(self, open_metrics: String) -> String {
        match self {
            Self::Text => text(&open_metrics),
            Self::OpenMetrics => open_metrics,
        }
    }
}

/// OpenMetrics as the text format 0.0.4. There a family is named like its series, has no unit and no type `info`, and no line
/// ends the text. Samples are the same.
fn text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    let mut help = "";
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(next) = line.strip_prefix("# HELP ") {
            help = next.split_once(' ').map_or("", |(_, help)| help);
            continue;
        }
        if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|kind| kind.rsplit_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            for part in
                ["# HELP ", name, suffix, " ", help, "\n# TYPE ", name, suffix, " ", kind, "\n"]
            {
                text.push_str(part);
            }
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_the_text_format_are_named_like_their_series() {
        let open_metrics = "# HELP a Things done.\n# TYPE a counter\na_total{b=\"# EOF\"} 1\n\
            # HELP c Kind of c.\n# TYPE c info\nc_info{d=\"e\"} 1\n\
            # HELP f_seconds Time.\n# TYPE f_seconds gauge\n# UNIT f_seconds seconds\nf_seconds 2\n# EOF\n";
        let expected = "# HELP a_total Things done.\n# TYPE a_total counter\na_total{b=\"# EOF\"} 1\n\
            # HELP c_info Kind of c.\n# TYPE c_info gauge\nc_info{d=\"e\"} 1\n\
            # HELP f_seconds Time.\n# TYPE f_seconds gauge\nf_seconds 2\n";
        assert_eq!(Exposition::Text.write(open_metrics.to_owned()), expected);
        assert_eq!(Exposition::OpenMetrics.write(open_metrics.to_owned()), open_metrics);
    }
}
