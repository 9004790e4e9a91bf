package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector makes metrics of the state.
type collector struct {
	m   *Set
	now func() State
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	messagesDesc      = desc("dawk_queue_messages", "Messages in the queue.")
	deliveriesDesc    = desc("dawk_queue_deliveries", "Deliveries in the queue, by state: the recipients of a message that share a route or domain are one.", "state")
	delayedDesc       = desc("dawk_queue_delayed", "Deliveries that were put off at their last attempt, by its reason; attempts before the start of the relay are not known.", "reason")
	oldestDesc        = desc("dawk_oldest_message_age_seconds", "Age of the oldest message in the queue, those on hold included; 0: the queue is empty.")
	fileDesc          = desc("dawk_queue_file_bytes", "Size of the queue file.")
	freeDesc          = desc("dawk_queue_free_bytes", "Octets of the queue file that hold nothing and are used again.")
	journalDesc       = desc("dawk_queue_journal_bytes", "Octets of the journal that are not in the queue file yet.")
	checkpointsDesc   = desc("dawk_queue_checkpoints_total", "Times that the journal went into the queue file.")
	diskDesc          = desc("dawk_disk_free_bytes", "Free octets of the file system of the queue.")
	roomDesc          = desc("dawk_queue_room_bytes", "Room for new mail.")
	limitDesc         = desc("dawk_queue_room_limit_bytes", "Room below which new mail is refused with 452.")
	acceptingDesc     = desc("dawk_accepting", "1: new mail is accepted. 0: it is put off, for want of space or trust in the disk.")
	corruptDesc       = desc("dawk_corrupt_records", "Damaged records that were set aside.")
	clientsDesc       = desc("dawk_client_connections", "Client connections that are open.")
	outwardDesc       = desc("dawk_delivery_connections", "Delivery attempts that may hold a connection.")
	slotsDesc         = desc("dawk_delivery_slots", "Slots for delivery attempts, by state: used; waiting: attempts that could begin if there were slots for them; given_up: since the start, by attempts at hosts that said nothing.", "state")
	restingDesc       = desc("dawk_destinations_resting", "Destinations that did not let us in and are left alone for a while.")
	adriftDesc        = desc("dawk_deliveries_adrift", "Watchdog: Deliveries without exactly one next event. Not 0: a fault in dawk.")
	strandedDesc      = desc("dawk_deliveries_stranded_total", "Watchdog: Deliveries that were overdue and had to be woken. Not 0: a fault in dawk.")
	corruptedDesc     = desc("dawk_deliveries_corrupt_total", "Deliveries taken off the schedule because their record, or the content of their message, is damaged.")
	unsavedDesc       = desc("dawk_settlements_retried_total", "Results of attempts that could not be stored at once.")
	providerReadyDesc = desc("dawk_provider_deliveries_ready", "Deliveries that wait for their turn, by who takes the destination's mail.", "provider")
	providerUsedDesc  = desc("dawk_provider_connections", "Delivery attempts that may hold a connection to the provider.", "provider")
	providerLimitDesc = desc("dawk_provider_connections_limit", "Connections that the provider may have at once now; 0: nothing goes there.", "provider")
	providerSlowDesc  = desc("dawk_provider_slowed", "Not 0: the provider said within the last hour that we send too much at a time.", "provider")
	routeHeldDesc     = desc("dawk_route_held", "1: the route is held, since its login or account is in trouble; its mail waits. 0: it is not.", "route")
	routeDownDesc     = desc("dawk_route_unreachable", "1: mail waits since the smart host of the route lets nobody in. 0: it does, or nothing waits.", "route")
	usersBrokenDesc   = desc("dawk_users_file_broken", "1: the users file cannot be read, and the users of before are in force. 0: it can, or there is none.")
	usersHeldDesc     = desc("dawk_identities_held", "Users, and clients without a login, on hold for what looked like spam, until an operator releases them.")
	historyDesc       = desc("dawk_history_lost_total", "Events that the history could not keep: the disk was too slow or took nothing. Mail is not affected.")
	outboxLostDesc    = desc("dawk_outbox_lost_total", "Events for webhooks that the outbox had no room for. Mail is not affected.")
	hookDoneDesc      = desc("dawk_webhook_delivered_total", "Events that the webhook took.", "webhook")
	hookFailedDesc    = desc("dawk_webhook_failed_total", "Events that were given up for the webhook, after 3 days.", "webhook")
	hookPendingDesc   = desc("dawk_webhook_pending", "Events that the webhook is still to be told.", "webhook")
	hookEndedDesc     = desc("dawk_webhook_ended", "1: the webhook's receiver wants no more (410), and nothing is sent until dawk webhook enable. 0: it does.", "webhook")
	clusterDesc       = desc("dawk_cluster_nodes", "Relays that share the queue in a database, this one included; 0: the queue is in files.")
	partitionsDesc    = desc("dawk_cluster_partitions", "Partitions of the shared queue, of 256, in which this relay takes and delivers mail.")
	logLostDesc       = desc("dawk_log_lines_lost_total", "Log lines that were dropped: the log's reader was too slow or had gone. Mail is not affected.")
	configLoadedDesc  = desc("dawk_config_loaded_timestamp_seconds", "Since when the configuration that runs is in force: the start, or the last reload.")
	configStaleDesc   = desc("dawk_config_stale", "1: the configuration file is not what runs: it has changed since it was read, was refused, or needs a restart. 0: it is.")
	authorityDesc     = desc("dawk_certificate_failures", "Tries to get a certificate from its authority (ACME) since the last success.")
	certificateDesc   = desc("dawk_certificate_expiry_timestamp_seconds", "When the first of the listeners' certificates ends; 0: there is none.")
)

// Describe is for the registry, which checks names and labels by it.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(collector{c.m, func() State { return State{} }}, ch)
}

// Collect asks for the state.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	now := c.now()
	q, d := now.Queue, now.Delivery
	gauge(messagesDesc, float64(q.Messages))
	gauge(fileDesc, float64(q.FileBytes))
	gauge(freeDesc, float64(q.FreeBytes))
	gauge(journalDesc, float64(q.Journal))
	counter(checkpointsDesc, q.Checkpoints)
	gauge(diskDesc, float64(q.DiskFree))
	gauge(roomDesc, float64(q.Room))
	gauge(limitDesc, float64(q.Limit))
	gauge(corruptDesc, float64(q.SetAside))

	gauge(deliveriesDesc, float64(d.Ready), "ready")
	gauge(deliveriesDesc, float64(d.Deferred), "deferred")
	gauge(deliveriesDesc, float64(d.Future), "future")
	gauge(deliveriesDesc, float64(d.Held), "held")
	gauge(deliveriesDesc, float64(d.InFlight), "in_flight")
	for _, reason := range c.m.names.Categories {
		gauge(delayedDesc, float64(d.Delayed[reason]), reason)
	}
	gauge(oldestDesc, age(d.OldestArrival))
	gauge(outwardDesc, float64(d.Connections))
	gauge(slotsDesc, float64(d.Connections), "used")
	gauge(slotsDesc, float64(d.Waiting), "waiting")
	gauge(slotsDesc, float64(d.GivenUp), "given_up")
	gauge(restingDesc, float64(d.Resting))
	gauge(adriftDesc, float64(d.Adrift))
	counter(strandedDesc, d.Stranded)
	counter(corruptedDesc, d.Corrupt)
	counter(unsavedDesc, d.Unsaved)

	gauge(acceptingDesc, oneIf(now.Accepting))
	gauge(clientsDesc, float64(now.Clients))
	for _, name := range c.m.providers() {
		p := now.Providers[name]
		gauge(providerReadyDesc, float64(p.Ready), name)
		gauge(providerUsedDesc, float64(p.Connections), name)
		gauge(providerLimitDesc, float64(p.Limit), name)
		gauge(providerSlowDesc, float64(p.Slowed), name)
	}
	for route, held := range now.RoutesHeld {
		gauge(routeHeldDesc, oneIf(held), route)
	}
	for route, down := range now.RoutesDown {
		gauge(routeDownDesc, oneIf(down), route)
	}
	gauge(usersBrokenDesc, oneIf(now.UsersBroken))
	gauge(usersHeldDesc, float64(now.IdentitiesHeld))
	budgets(now.Budgets, gauge)
	counter(historyDesc, now.HistoryLost)
	counter(outboxLostDesc, now.OutboxLost)
	webhooks(now.Webhooks, ch)
	gauge(clusterDesc, float64(now.ClusterNodes))
	gauge(partitionsDesc, float64(now.ClusterPartitions))
	counter(logLostDesc, now.LogLinesLost)
	gauge(configLoadedDesc, timestamp(now.ConfigLoaded))
	gauge(configStaleDesc, oneIf(now.ConfigStale))
	gauge(certificateDesc, timestamp(now.CertificateExpiry))
	gauge(authorityDesc, float64(now.CertificateFails))
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// age is the time since t in seconds; 0 for no time and for the future.
func age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}

func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}

func webhooks(all []Webhook, ch chan<- prometheus.Metric) {
	for _, h := range all {
		ended := 0.0
		if h.Ended {
			ended = 1
		}
		ch <- prometheus.MustNewConstMetric(hookDoneDesc, prometheus.CounterValue, float64(h.Delivered), h.Name)
		ch <- prometheus.MustNewConstMetric(hookFailedDesc, prometheus.CounterValue, float64(h.Failed), h.Name)
		ch <- prometheus.MustNewConstMetric(hookPendingDesc, prometheus.GaugeValue, float64(h.Pending), h.Name)
		ch <- prometheus.MustNewConstMetric(hookEndedDesc, prometheus.GaugeValue, ended, h.Name)
	}
}
