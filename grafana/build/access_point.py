"""Access point: what passes it, by device; the last 250 hours at a glance; and the radio, where this machine has it."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.build.frame import ACCESS_POINT, Row, any_device, dashboard, to_device
from grafana.build.panels import bars, gauge_panel, pie, stat_panel, timeseries
from grafana.build.queries import Promql, named

_RECORDED = 'mac:netvane_flows_device_bytes:rate5m{site="$site", mac=~"$device"}'


def access_point() -> Dashboard:
    return dashboard(
        ACCESS_POINT,
        "Access point",
        "What passes this machine: by device, by class, by radio station; and whether the capture keeps up.",
        [_devices(), _long(), _classes(), _stations(), _capture()],
        variables=[any_device()],
    )


def _devices() -> Row:
    def rate(direction: str) -> Promql:
        chosen = f'netvane_flows_device_bytes_total{{site="$site", mac=~"$device", direction="{direction}"}}'
        return Promql(named(f"sum by (mac) (rate({chosen}[$__rate_interval]))"), "{{name}}")

    talkers = bars(
        "Top talkers",
        "Devices by the bytes that they exchanged with whomever in the chosen time. A bar leads to the device.",
        Promql(
            named(
                "topk(15, sum by (mac) (increase("
                'netvane_flows_device_bytes_total{site="$site", mac=~"$device"}[$__range])))'
            ),
            "{{name}}",
            instant=True,
        ),
        unit="bytes",
        width=8,
        height=16,
    )
    return Row(
        "By device",
        [
            talkers.data_links([to_device("__field.labels.mac")]),
            timeseries(
                "Sent",
                "Bytes a second that each device sent.",
                rate("tx"),
                unit="Bps",
                width=16,
            ),
            timeseries(
                "Received",
                "Bytes a second that were sent to each device.",
                rate("rx"),
                unit="Bps",
                width=16,
            ),
        ],
    )


def _long() -> Row:
    worst = Promql(named(f"sum by (mac) (max_over_time({_RECORDED}[$__interval]))"), "{{name}}", step="2m")
    description = (
        "Bytes a second that each device exchanged with the Internet: the highest five minutes of each moment."
    )
    return Row(
        "The last 250 hours",
        [
            timeseries("Traffic of 250 hours", description, worst, unit="Bps").time_from("250h"),
            timeseries(
                "Traffic of 250 hours, logarithmic",
                f"{description} A heartbeat shows beside a film.",
                worst,
                unit="Bps",
                log=True,
            ).time_from("250h"),
        ],
    )


def _classes() -> Row:
    return Row(
        "Packet classes",
        [
            timeseries(
                "Packets by class",
                "Packets a second; classes overlap: a DNS query counts in udp and dns.",
                Promql(
                    'sum by (class) (rate(netvane_flows_packets_total{site="$site"}[$__rate_interval]))', "{{class}}"
                ),
                unit="pps",
                width=16,
            ),
            pie(
                "Share of each class",
                "Packets of the chosen time.",
                Promql(
                    'sum by (class) (increase(netvane_flows_packets_total{site="$site"}[$__range]))',
                    "{{class}}",
                    instant=True,
                ),
                unit="none",
            ),
        ],
    )


def _stations() -> Row:
    def station(metric: str) -> Promql:
        of_mac = f'label_replace({metric}{{site="$site"}}, "mac", "$1", "mac_address", "(.+)")'
        return Promql(named(f"max by (mac) ({of_mac})"), "{{name}}")

    return Row(
        "Radio stations",
        [
            timeseries(
                "Signal",
                "How strongly this machine hears each station; below -75 dBm it becomes slow. Only on an access "
                "point, with the node exporter's wifi collector.",
                station("node_wifi_station_signal_dbm"),
                unit="dBm",
                width=8,
            ),
            timeseries(
                "Bit rate from stations",
                "At which rate the last packet of each station came.",
                station("node_wifi_station_receive_bits_per_second"),
                unit="bps",
                width=8,
            ),
            timeseries(
                "Bit rate to stations",
                "At which rate the last packet to each station was sent.",
                station("node_wifi_station_transmit_bits_per_second"),
                unit="bps",
                width=8,
            ),
        ],
    )


def _capture() -> Row:
    dropped = 'netvane_flows_capture_dropped_total{site="$site"}[$__rate_interval]'
    return Row(
        "Capture",
        [
            timeseries(
                "Lost by the capture",
                "Packets a second that a full ring had no room for: they are not counted anywhere else.",
                Promql(f"sum by (interface, ring) (rate({dropped}))", "{{interface}} {{ring}}"),
                unit="pps",
            ),
            gauge_panel(
                "Use of the ring",
                "Highest use of the ring since the last scrape.",
                Promql('max by (interface) (netvane_flows_capture_ring_use_ratio{site="$site"})', "{{interface}}"),
                unit="percentunit",
                most=1,
                steps=[(0.5, "orange"), (0.9, "red")],
            ),
            stat_panel(
                "Last frame",
                "When a frame last came.",
                Promql(
                    '1000 * max by (interface) (netvane_flows_capture_last_frame_timestamp_seconds{site="$site"})',
                    "{{interface}}",
                    instant=True,
                ),
                unit="dateTimeFromNow",
                width=6,
            ),
            timeseries(
                "Lost by the interface",
                "Packets a second that the kernel dropped at each interface of this machine, coming and going.",
                Promql(
                    'rate(node_network_receive_drop_total{site="$site", device!="lo"}[$__rate_interval])',
                    "{{device}} in",
                ),
                Promql(
                    'rate(node_network_transmit_drop_total{site="$site", device!="lo"}[$__rate_interval])',
                    "{{device}} out",
                ),
                unit="pps",
                width=24,
            ),
        ],
    )
