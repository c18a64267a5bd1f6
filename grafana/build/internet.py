"""Internet: every probe by role and target; the day, and any day of the last year."""

from grafana_foundation_sdk.builders import heatmap
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, FieldColor
from grafana_foundation_sdk.builders.statushistory import Panel as StatusHistory
from grafana_foundation_sdk.models.common import VisibilityMode
from grafana_foundation_sdk.models.dashboard import FieldColorModeId
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode

from grafana.build.frame import INTERNET, Row, dashboard, query_variable
from grafana.build.panels import chart, log_panel, panel, stat_panel, thresholds, timeline, timeseries
from grafana.build.queries import LATENCY, Logql, Promql
from grafana.build.verdicts import WORST

_CHOSEN = 'site="$site", role=~"$role", target=~"$target"'
_BUCKETS = f'sum by (le) (rate(netvane_probe_rtt_seconds_bucket{{{_CHOSEN}, probe="icmp"}}[$__rate_interval]))'
_ANCHORS = 'site="$site", role="anchor", probe="icmp"'


def internet() -> Dashboard:
    role = query_variable("role", "Role", 'label_values(netvane_probe_sent_total{site="$site"}, role)', several=True)
    targets = 'label_values(netvane_probe_sent_total{site="$site", role=~"$role"}, target)'
    target = query_variable("target", "Target", targets, several=True)
    return dashboard(
        INTERNET,
        "Internet",
        "The line and what lies beyond it, by role and target.",
        [_verdict(), _round_trips(), _loss(), _families(), _dns(), _web(), _path()],
        variables=[role, target],
        loki=True,
    )


def _verdict() -> Row:
    window = "time=${__value.time}&time.window=86400000"
    day = f"/d/{INTERNET}?{window}&${{prometheus:queryparam}}&${{site:queryparam}}"
    year = panel(
        StatusHistory(),
        "Each day of the last year",
        "Share of the day, noon to noon, in which at least one target of the role worked. A click opens that day.",
        Promql(
            'avg_over_time(role:netvane_probe_available:avg1h{site="$site", role=~"$role"}[1d] offset -12h)',
            "{{role}}",
            step="1d",
        ),
        unit="percentunit",
        width=24,
    )
    year.time_from("365d").interval("1d").max_data_points(400).data_links([DashboardLink("This day").url(day)])
    year.show_value(VisibilityMode.NEVER).row_height(0.9).thresholds(thresholds()).min(0).max(1).color_scheme(
        FieldColor().mode(FieldColorModeId.CONTINUOUS_RD_YL_GR)
    )
    return Row(
        "Verdict and outages",
        [
            timeline(
                "Verdict",
                "The worst verdict of each moment: the nearest broken segment. Gaps: not measured.",
                Promql('max_over_time(site:netvane_verdict:worst1m{site="$site"}[$__interval])', "verdict", step="2m"),
                values=WORST,
            ),
            year,
            chart(
                "Outages by culprit",
                "How many minutes of the chosen time had an outage, by the segment at fault.",
                Promql(
                    'sum by (culprit) (sum_over_time(culprit:netvane_outage_active:max1m{site="$site"}[$__range])) > 0',
                    instant=True,
                    table=True,
                ),
                unit="m",
                x="culprit",
            ),
            log_panel(
                "Outages and verdicts",
                "Each change of the verdict and each outage; a line opens to its evidence and the path at that moment.",
                Logql(
                    '{site="$site", event=~"outage|verdict"} | json verdict, previous, state, culprit, duration_seconds'
                    " | line_format `{{if .verdict}}{{.previous}} -> {{.verdict}}"
                    "{{else}}outage {{.state}}: {{.culprit}} {{.duration_seconds}}{{end}}`",
                    lines=200,
                ),
                width=12,
                height=8,
            ),
        ],
    )


def _round_trips() -> Row:
    cells = panel(
        heatmap.Panel(),
        "Round-trip times of pings",
        "How many pings a second of the chosen targets took how long.",
        Promql(_BUCKETS, "{{le}}", heatmap=True, step=LATENCY),
        unit="none",
    )
    cells.calculate(calculate=False).y_axis(heatmap.YAxisConfig().unit("s"))
    cells.color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).exponent(0.5))
    quantiles = [
        Promql(f"histogram_quantile({quantile}, {_BUCKETS})", f"{quantile:.0%}", step=LATENCY)
        for quantile in (0.5, 0.9, 0.99)
    ]
    of_targets = Promql(f"target:netvane_probe_rtt_seconds:p95_rate5m{{{_CHOSEN}}}", "{{target}} {{probe}} {{family}}")
    return Row(
        "Round-trip time",
        [
            cells,
            timeseries(
                "Quantiles",
                "Half, 90 % and 99 % of the pings of the chosen targets took at most this.",
                *quantiles,
                unit="s",
            ),
            timeseries(
                "By target",
                "What 95 % of the probes took at most, over five minutes.",
                of_targets,
                unit="s",
            ),
            timeseries(
                "By target, logarithmic",
                "The same on a logarithmic axis, where near and far targets both show.",
                of_targets,
                unit="s",
                log=True,
            ),
        ],
    )


def _loss() -> Row:
    return Row(
        "Loss and jitter",
        [
            timeseries(
                "Loss by target",
                "Share of probes that were not answered, over five minutes.",
                Promql(
                    f"max_over_time(target:netvane_probe_loss:ratio_rate5m{{{_CHOSEN}}}[$__interval])",
                    "{{target}} {{probe}} {{family}}",
                    step="1m",
                ),
                unit="percentunit",
            ),
            timeseries(
                "Jitter by target",
                "How unevenly answers come: interarrival jitter as in RFC 3550, five minutes' average.",
                Promql(f"target:netvane_probe_jitter_seconds:avg5m{{{_CHOSEN}}}", "{{target}} {{probe}} {{family}}"),
                unit="s",
            ),
            timeseries(
                "Failed probes by reason",
                "Probes a second that failed, with what was wrong: refused, timeout, a wrong address and so on.",
                Promql(
                    f"sum by (target, reason) (rate(netvane_probe_errors_total{{{_CHOSEN}}}[$__rate_interval])) > 0",
                    "{{target}} {{reason}}",
                    step=LATENCY,
                ),
                unit="cps",
                width=16,
            ),
            stat_panel(
                "Only the router answers",
                "1 where the router is all that answers pings: then they say nothing of the Internet.",
                Promql('netvane_only_router_answers{site="$site"}', step=LATENCY),
                unit="none",
                steps=[(1, "orange")],
            ),
            stat_panel(
                "Cost of probes",
                "Bytes that the probes sent and got beyond the router in the chosen time.",
                Promql('sum(increase(netvane_probe_wan_bytes_total{site="$site"}[$__range]))', instant=True),
                unit="bytes",
            ),
        ],
    )


def _families() -> Row:
    seconds = (
        f"sum by (family) (rate(netvane_probe_rtt_seconds_sum{{{_ANCHORS}}}[$__rate_interval]))"
        f" / sum by (family) (rate(netvane_probe_rtt_seconds_count{{{_ANCHORS}}}[$__rate_interval]))"
    )
    return Row(
        "IPv4 against IPv6",
        [
            timeseries(
                "Round-trip time",
                "Mean time to the same anchors by IPv4 and by IPv6.",
                Promql(seconds, "{{family}}", step=LATENCY),
                unit="s",
            ),
            timeseries(
                "Loss",
                "Share of lost pings to anchors by IPv4 and by IPv6, over five minutes.",
                Promql('segment:netvane_probe_loss:ratio_rate5m{site="$site", role="anchor"}', "{{family}}"),
                unit="percentunit",
            ),
        ],
    )


def _dns() -> Row:
    resolvers = 'site="$site", role="resolver"'
    return Row(
        "DNS",
        [
            timeseries(
                "Time to an answer",
                "What 95 % of the questions took at most, by resolver and by UDP, TCP or TLS (DoT).",
                Promql(f"target:netvane_probe_rtt_seconds:p95_rate5m{{{resolvers}}}", "{{target}} {{probe}}"),
                unit="s",
            ),
            timeseries(
                "Wrong or missing answers",
                "Questions a second that failed: no answer, an error, or not the address that is known to be right.",
                Promql(
                    f"sum by (target, probe) (rate(netvane_probe_errors_total{{{resolvers}}}[$__rate_interval]))",
                    "{{target}} {{probe}}",
                    step=LATENCY,
                ),
                unit="cps",
            ),
        ],
    )


def _web() -> Row:
    phases = timeseries(
        "Phases of a web page",
        "How long the newest page took to resolve, connect, agree on TLS, begin and arrive.",
        Promql('netvane_http_phase_seconds{site="$site"}', "{{probe}} {{phase}}", step=LATENCY),
        unit="s",
    )
    return Row(
        "Web",
        [
            phases,
            timeseries(
                "Web sites",
                "How many sites of the pool took their last connection, and how many did not.",
                Promql('sum(netvane_site_up{site="$site"})', "reachable", step=LATENCY),
                Promql('count(netvane_site_up{site="$site"} == 0) or vector(0)', "not reachable", step=LATENCY),
                unit="none",
            ),
        ],
    )


def _path() -> Row:
    return Row(
        "Path",
        [
            timeseries(
                "Hops",
                "Hops to the first anchor; 0: not yet known.",
                Promql('netvane_path_hops{site="$site"}', "hops", step=LATENCY),
                unit="none",
            ),
            timeseries(
                "Changes of the path",
                "Traces in which a hop was another one than before.",
                Promql('increase(netvane_path_changes_total{site="$site"}[$__rate_interval])', "changes", step=LATENCY),
                unit="none",
            ),
        ],
    )
