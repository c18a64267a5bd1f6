"""DNS log: every question that Netvane saw, searchable by device, name and answer."""

from grafana_foundation_sdk.builders.dashboard import CustomVariable, Dashboard, TextBoxVariable

from grafana.build.frame import DNS_LOG, Row, any_device, dashboard
from grafana.build.panels import bars, log_panel, note, pie, timeseries
from grafana.build.queries import Logql, Promql

_RCODES = "NOERROR,NXDOMAIN,SERVFAIL,REFUSED,FORMERR"
_LINES = (
    '{site="$site", event="dns"} | mac=~"$device" | qname=~`(?i).*$name.*`'
    ' | json qtype, rcode, latency_seconds, answers | rcode=~"$rcode"'
)


def dns_log() -> Dashboard:
    name = TextBoxVariable("name").label("Name contains").default_value("")
    rcode = CustomVariable("rcode").label("Answer").values(_RCODES).multi(multi=True).include_all(include_all=True)
    return dashboard(
        DNS_LOG,
        "DNS log",
        "Who asked for which name, and what the answer was. Search by device, part of a name, and answer.",
        [_log(), _numbers()],
        variables=[any_device(), name, rcode.all_value(".*")],
        loki=True,
        since="now-1h",
    )


def _log() -> Row:
    return Row(
        "Log",
        [
            note(
                "How to search",
                "What can be found here, and what cannot.",
                "Choose devices and answers above, and type a part of a name. What is here are events of at most 31 "
                "days, which Loki keeps: without a Loki all but the last panel are empty.\n\nA question that is sent "
                "encrypted, or does not pass this machine, is not here. The dashboard *Security* tells which devices "
                "go around your DNS server.",
            ),
            timeseries(
                "Questions",
                "Questions that match the search, by answer; an empty one: no answer was seen.",
                Logql(f"sum by (rcode) (count_over_time({_LINES} [$__interval]))", "{{rcode}}"),
                unit="none",
                width=24,
                height=6,
            ),
            log_panel(
                "Questions and answers",
                "A line opens to all its fields; the MAC address there leads to the device.",
                Logql(
                    _LINES + " | line_format `{{or .device_name .mac}}: {{.qname}} {{.qtype}} {{.rcode}}"
                    " {{.answers}} {{.latency_seconds}} s`"
                ),
                height=18,
            ),
        ],
    )


def _numbers() -> Row:
    def most(label: str) -> Logql:
        return Logql(
            f"topk(20, sum by ({label}) (count_over_time({_LINES} [$__range])))", f"{{{{{label}}}}}", instant=True
        )

    missing = f'topk(20, sum by (qname) (count_over_time({_LINES} | rcode="NXDOMAIN" [$__range])))'
    return Row(
        "What is asked most",
        [
            bars(
                "Names",
                "Names that were asked for most often in the chosen time.",
                most("qname"),
                unit="none",
                width=8,
                height=12,
            ),
            bars(
                "Names that do not exist",
                "A device that asks for many of them may carry something that looks for its master.",
                Logql(missing, "{{qname}}", instant=True),
                unit="none",
                width=8,
                height=12,
            ),
            bars(
                "Devices",
                "Who asked most often in the chosen time.",
                most("device_name"),
                unit="none",
                width=8,
                height=12,
            ),
            pie("Answers", "Answers of the chosen time.", most("rcode"), unit="none"),
            pie("Types", "What kind of record was asked for.", most("qtype"), unit="none"),
            timeseries(
                "DNS messages seen",
                "Questions and answers a second that the flows exporter read.",
                Promql('rate(netvane_flows_dns_messages_total{site="$site"}[$__rate_interval])', "messages"),
                unit="cps",
                width=8,
            ),
        ],
    )
