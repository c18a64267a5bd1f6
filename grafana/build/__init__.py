"""The dashboards as Python; `make dashboards` writes them to grafana/dashboards/ as the JSON that Grafana loads."""
