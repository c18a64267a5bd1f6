"""Netvane itself: whether all of it works, and what it costs the machine."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.build.frame import ITSELF, Row, dashboard
from grafana.build.panels import gauge_panel, stat_panel, table_panel, timeline, timeseries
from grafana.build.queries import Promql


def itself() -> Dashboard:
    return dashboard(
        ITSELF,
        "Netvane itself",
        "Whether all of Netvane works, whether its events arrive, and what it costs the machine.",
        [_parts(), _events(), _machine(), _storage()],
    )


def _parts() -> Row:
    return Row(
        "Parts",
        [
            timeline(
                "Up",
                "Whether each part could be scraped.",
                Promql('min by (job) (up{site="$site"})', "{{job}}"),
                values={"1": ("up", "green"), "0": ("down", "red")},
                width=16,
                height=8,
            ),
            table_panel(
                "Versions",
                "What is running.",
                Promql('count by (job, version, python) (netvane_build_info{site="$site"})', instant=True, table=True),
                unit="none",
                hidden=("Value",),
                width=8,
            ),
            timeseries(
                "Scrape times",
                "How long each part took to answer; more than 10 s is a failure.",
                Promql('max by (job) (scrape_duration_seconds{site="$site"})', "{{job}}"),
                unit="s",
                width=8,
            ),
            timeseries(
                "Series",
                "How many series each part has; too many fail its scrape.",
                Promql('max by (job) (scrape_samples_scraped{site="$site"})', "{{job}}"),
                unit="none",
                width=8,
            ),
            timeseries(
                "Failed collectors",
                "Collectors of Netvane's exporters that failed.",
                Promql('sum by (job) (netvane_collector_success{site="$site"} == bool 0)', "{{job}}"),
                unit="none",
                width=8,
            ),
            timeseries(
                "Memory of the parts",
                "What each part holds.",
                Promql('sum by (job) (process_resident_memory_bytes{site="$site"})', "{{job}}"),
                unit="bytes",
            ),
            timeseries(
                "CPU time of the parts",
                "How much of one core each part uses.",
                Promql('sum by (job) (rate(process_cpu_seconds_total{site="$site"}[$__rate_interval]))', "{{job}}"),
                unit="percentunit",
            ),
        ],
    )


def _events() -> Row:
    lag = 'time() - (netvane_loki_oldest_unshipped_timestamp_seconds{site="$site"} > 0)'
    return Row(
        "Events",
        [
            timeseries(
                "Stored",
                "Events a second that were written to the disk, by exporter and kind.",
                Promql(
                    'sum by (job, event) (rate(netvane_events_stored_total{site="$site"}[$__rate_interval]))',
                    "{{job}} {{event}}",
                ),
                unit="cps",
                width=8,
            ),
            timeseries(
                "Lost",
                "Events a second that were lost: memory full, refused, or deleted before Loki had them.",
                Promql(
                    'sum by (job) (rate(netvane_events_dropped_total{site="$site"}[$__rate_interval]))',
                    "{{job}} dropped",
                ),
                Promql(
                    'sum by (job) (rate(netvane_events_deleted_unshipped_total{site="$site"}[$__rate_interval]))',
                    "{{job}} unshipped",
                ),
                Promql(
                    'sum by (job) (rate(netvane_flows_events_suppressed_total{site="$site"}[$__rate_interval]))',
                    "{{job}} suppressed",
                ),
                unit="cps",
                width=8,
            ),
            timeseries(
                "Lag of the shipper",
                "How long the oldest event that Loki does not have has been waiting; nothing where Loki has all.",
                Promql(lag, "{{job}}"),
                unit="s",
                width=8,
            ),
            timeseries(
                "Waiting for Loki",
                "Events on the disk that Loki does not have yet.",
                Promql('netvane_loki_events_pending{site="$site"}', "{{job}}"),
                unit="none",
                width=8,
            ),
            timeseries(
                "Event databases",
                "Size of each exporter's event database; at `storage.events_max` the oldest go.",
                Promql('netvane_events_database_bytes{site="$site"}', "{{job}}"),
                unit="bytes",
                width=8,
            ),
            timeseries(
                "Lost by the capture",
                "Packets a second that were not seen, because a ring was full.",
                Promql(
                    'sum by (interface) (rate(netvane_flows_capture_dropped_total{site="$site"}[$__rate_interval]))',
                    "{{interface}}",
                ),
                unit="pps",
                width=8,
            ),
        ],
    )


def _machine() -> Row:
    # A sensor that hwmon has too is the same one under another name.
    temperature = 'max(node_thermal_zone_temp{site="$site"} or node_hwmon_temp_celsius{site="$site"})'
    memory = '1 - node_memory_MemAvailable_bytes{site="$site"} / node_memory_MemTotal_bytes{site="$site"}'
    return Row(
        "Machine",
        [
            gauge_panel(
                "Temperature",
                "The hottest sensor. A Raspberry Pi slows down from 80 degrees on.",
                Promql(temperature, "hottest"),
                unit="celsius",
                most=100,
                steps=[(70, "orange"), (80, "red")],
            ),
            gauge_panel(
                "Memory in use",
                "Memory that cannot be had without swapping.",
                Promql(memory, "memory"),
                unit="percentunit",
                most=1,
                steps=[(0.8, "orange"), (0.95, "red")],
            ),
            timeseries(
                "Processor",
                "What the cores do, as a share of all of them.",
                Promql(
                    'sum by (mode) (rate(node_cpu_seconds_total{site="$site", mode!="idle"}[$__rate_interval]))'
                    ' / scalar(count(node_cpu_seconds_total{site="$site", mode="idle"}))',
                    "{{mode}}",
                ),
                unit="percentunit",
            ),
        ],
    )


def _storage() -> Row:
    disk = 'fstype!~"tmpfs|ramfs|overlay|squashfs"'
    free = f'node_filesystem_avail_bytes{{site="$site", {disk}}}'
    return Row(
        "Disk",
        [
            timeseries(
                "Written to disks",
                "Bytes a second written to each disk by the whole machine. An SD card wears out by them.",
                Promql(
                    'sum by (device) (rate(node_disk_written_bytes_total{site="$site"}[$__rate_interval]))',
                    "{{device}}",
                ),
                unit="Bps",
                width=10,
            ),
            timeseries(
                "Free",
                "Room left on each file system.",
                Promql(f"min by (mountpoint) ({free})", "{{mountpoint}}"),
                unit="bytes",
                width=10,
            ),
            stat_panel(
                "Written a day",
                "Bytes written to all disks within the last day.",
                Promql('sum(increase(node_disk_written_bytes_total{site="$site"}[1d]))', instant=True),
                unit="bytes",
            ),
            timeseries(
                "Metrics on the disk",
                "What Prometheus keeps in blocks; the newest hours come to it besides.",
                Promql('max(prometheus_tsdb_storage_blocks_bytes{site="$site"})', "blocks"),
                unit="bytes",
            ),
            timeseries(
                "Series in memory",
                "Series that Prometheus holds in memory.",
                Promql('max(prometheus_tsdb_head_series{site="$site"})', "series"),
                unit="none",
            ),
        ],
    )
