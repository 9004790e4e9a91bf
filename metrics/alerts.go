package metrics

import _ "embed"

// Alerts is alerts.yml: rules for Prometheus that wake somebody for what needs
// a person, with what to do about it.
//
//go:embed alerts.yml
var Alerts string

// Dashboard is grafana.json, for Grafana's import.
//
//go:embed grafana.json
var Dashboard string
