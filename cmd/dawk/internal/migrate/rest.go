package migrate

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// reference is the name of a parameter in the value of another.
var reference = regexp.MustCompile(`\$[{(]?(\w+)`)

// remedies say what to do about parameters that have no counterpart, and that hold
// something.
var remedies = map[string]string{
	"always_bcc": "dawk copies no mail; `dawk history` tells what left", "sender_bcc_maps": "dawk copies no mail", "recipient_bcc_maps": "dawk copies no mail",
	"content_filter":     "dawk has no content filter: put it in front of dawk, or behind it as a smart host in a [[route]]",
	"smtpd_proxy_filter": "dawk has no content filter: put it in front of dawk",
	"smtpd_milters":      "dawk has no milters; it signs by itself: `dawk dkim new DOMAIN`, with the old key file as `key`",
	"non_smtpd_milters":  "dawk has no milters; it signs by itself: `dawk dkim new DOMAIN`, with the old key file as `key`",
	"virtual_alias_maps": "dawk changes no recipients; [sendmail] aliases does so for addresses of this machine", "virtual_alias_domains": "dawk receives no mail for domains of its own",
	"recipient_canonical_maps": "dawk changes no recipients", "masquerade_domains": "write the domain into `domain` in [sendmail], or `rewrite_from` of a [[user]]",
	"relay_domains": "dawk takes mail from whom it trusts, not for a domain; leave mail from the internet to another server", "relay_recipient_maps": "dawk takes mail from whom it trusts, not for a domain",
	"virtual_mailbox_domains": "dawk has no mailboxes; a [[route]] leads to the host that has them", "virtual_mailbox_maps": "dawk has no mailboxes", "virtual_transport": "dawk has no mailboxes; a [[route]] leads to the host that has them",
	"mailbox_transport": "dawk has no mailboxes", "mailbox_command": "dawk has no mailboxes", "home_mailbox": "dawk has no mailboxes", "local_transport": "dawk has no mailboxes", "luser_relay": "dawk has no mailboxes; a [[route]] leads to the host that has them", "fallback_transport": "dawk has no mailboxes",
	"soft_bounce": "dawk returns what is refused for good; `dawk queue hold` keeps mail while you look", "notify_classes": "`postmaster` is told of bounces that cannot be delivered and of held routes",
	"bounce_template_file": "write your words as `templates` in [bounce]", "bounce_queue_lifetime": "notices live as long as other mail: max_age in [queue]",
	"smtpd_client_message_rate_limit": "per_hour in a [[listener]] or of a [[user]]", "smtpd_client_recipient_rate_limit": "recipients_per_hour in a [[listener]] or of a [[user]]", "smtpd_client_connection_rate_limit": "max_connections_per_ip in [limits]",
	"default_destination_rate_delay": "rate in a [[route]] or a [[provider]]", "smtp_destination_rate_delay": "rate in a [[route]] or a [[provider]]", "default_transport_rate_delay": "rate in a [[route]]", "smtp_transport_rate_delay": "rate in a [[route]]",
	"multi_instance_directories": "each instance is a relay of its own: run `dawk migrate postfix DIR --to OTHER` for each, with its own data_dir",
	"smtpd_tls_ask_ccert":        "client_ca in a [[listener]] and certificates in users.toml", "relay_clientcerts": "client_ca in a [[listener]] and certificates in users.toml", "smtpd_tls_req_ccert": "client_ca in a [[listener]] and certificates in users.toml",
	"defer_transports": "`dawk queue hold` holds mail", "hold": "`dawk queue hold` holds mail", "fast_flush_domains": "dawk retries by itself",
	"smtpd_upstream_proxy_protocol": "proxies in the [[listener]]", "postscreen_upstream_proxy_protocol": "proxies in the [[listener]]",
	"smtp_host_lookup": "dawk asks DNS alone", "disable_dns_lookups": "smart hosts in `via` are looked up by address; other mail goes by MX", "authorized_submit_users": "`senders` in [sendmail] binds the users of this machine",
	"header_size_limit": "headers may have 256 KiB", "smtputf8_enable": "dawk offers SMTPUTF8 always", "export_environment": "", "import_environment": "",
}

// needless are parameters that need no counterpart: dawk has no such folder, user or
// knob, or does the same by itself. A name that ends in _ stands for all that begin so.
var needless = strings.Fields(`smtpd_tls_security_level smtpd_use_tls smtpd_enforce_tls smtpd_tls_auth_only smtpd_tls_wrappermode smtpd_sasl_auth_enable smtpd_client_restrictions smtpd_helo_restrictions smtpd_sender_restrictions smtpd_relay_restrictions smtpd_recipient_restrictions mynetworks inet_interfaces inet_protocols smtp_use_tls smtp_enforce_tls smtp_sasl_ smtp_sender_dependent_authentication smtp_tls_wrappermode smtp_tls_security_level smtp_tls_cert_file smtp_tls_key_file default_transport relay_transport
	compatibility_level queue_directory command_directory daemon_directory data_directory config_directory mail_owner setgid_group default_privs
	sendmail_path newaliases_path mailq_path html_directory manpage_directory sample_directory readme_directory shlib_directory meta_directory mail_name mail_version mydomain
	debug_peer_ debugger_command biff smtpd_banner append_dot_mydomain append_at_myorigin swap_bangpath recipient_delimiter mailbox_size_limit owner_request_special alias_database
	unknown_ smtpd_helo_required disable_vrfy_command strict_rfc821_envelopes smtpd_delay_reject smtpd_tls_loglevel smtp_tls_loglevel smtpd_tls_received_header tls_random_source
	smtp_tls_session_cache_database smtpd_tls_session_cache_database smtp_tls_session_cache_timeout smtpd_tls_session_cache_timeout lmtp_tls_session_cache_database tls_preempt_cipherlist tls_high_cipherlist tls_medium_cipherlist tls_ssl_options
	smtpd_tls_dh1024_param_file smtpd_tls_dh512_param_file smtpd_tls_eecdh_grade smtpd_tls_ciphers smtpd_tls_mandatory_ciphers smtpd_tls_exclude_ciphers smtpd_tls_mandatory_exclude_ciphers smtpd_tls_protocols smtpd_tls_mandatory_protocols smtpd_tls_CAfile smtpd_tls_CApath
	smtp_tls_ciphers smtp_tls_mandatory_ciphers smtp_tls_exclude_ciphers smtp_tls_mandatory_exclude_ciphers smtp_tls_protocols smtp_tls_mandatory_protocols smtp_tls_note_starttls_offer smtp_tls_verify_cert_match smtp_tls_secure_cert_match smtp_tls_scert_verifydepth smtp_tls_connection_reuse smtp_dns_support_level
	smtpd_sasl_type smtpd_sasl_path smtpd_sasl_local_domain smtpd_sasl_security_options smtpd_sasl_tls_security_options smtpd_sasl_authenticated_header broken_sasl_auth_clients cyrus_sasl_config_path smtp_sasl_security_options smtp_sasl_tls_security_options smtp_sasl_type smtp_cname_overrides_servername
	smtpd_data_restrictions smtpd_end_of_data_restrictions smtpd_etrn_restrictions smtpd_restriction_classes smtpd_client_event_limit_exceptions smtpd_reject_unlisted_ smtpd_error_sleep_time smtpd_soft_error_limit smtpd_hard_error_limit smtpd_junk_command_limit smtpd_discard_ehlo_ smtpd_forbid_ smtpd_sasl_tls_security_options
	smtp_discard_ehlo_ smtp_always_send_ehlo smtp_skip_5xx_greeting smtp_quote_rfc821_envelope smtp_pix_ smtp_line_length_limit smtp_connection_cache_ smtp_connection_reuse_ smtp_mx_ smtp_destination_recipient_limit default_destination_recipient_limit smtp_rcpt_timeout smtp_quit_timeout smtp_rset_timeout smtp_starttls_timeout
	maillog_file maillog_ syslog_ in_flow_delay default_process_limit max_idle max_use qmgr_ bounce_size_limit 2bounce_notice_recipient bounce_notice_recipient delay_notice_recipient error_notice_recipient double_bounce_sender address_verify_ anvil_ postscreen_ milter_ policyd-spf_ local_recipient_maps
	local_header_rewrite_clients remote_header_rewrite_domain always_add_missing_headers canonical_classes sender_canonical_classes default_database_type parent_domain_matches_subdomains mynetworks_style smtp_tls_chain_files master_service_disable multi_instance_enable multi_instance_name multi_instance_group authorized_flush_users authorized_mailq_users
	proxy_read_maps proxy_write_maps queue_run_delay enable_original_recipient enable_long_queue_ids allow_percent_hack message_strip_characters hash_queue_ minimal_backoff_time smtpd_peername_lookup smtpd_proxy_timeout lmtp_ virtual_ local_destination_ dovecot_destination_ transport_retry_time connection_cache_ smtpd_discard_ smtp_balance_ smtpd_tls_session_ info_log_address_format respectful_logging smtpd_tls_always_issue_session_ids tls_append_default_CA smtp_tls_force_insecure_host_tlsa_lookup smtpd_log_access_permit_actions short_ submission_ helpful_warnings mime_boundary_length_limit`)

// rest lists the parameters of main.cf and of -o that nothing has converted.
func (m *migration) rest() error {
	for _, name := range list(m.get("smtpd_restriction_classes")) {
		m.used[name] = true
	}
	for _, name := range m.order {
		for _, f := range reference.FindAllStringSubmatch(m.params[name].value, -1) {
			m.used[f[1]] = true
		}
	}
	for _, name := range m.order {
		value, where, _ := settings{params: m.params, used: map[string]bool{}}.written(name)
		if m.used[name] || strings.TrimSpace(value) == "" {
			continue
		}
		m.unconverted(name, value, where)
	}
	for _, s := range m.services {
		if s.kind != "inet" && !m.delivers[s.name] || s.command != "smtpd" && s.command != "smtp" && s.command != "lmtp" {
			continue
		}
		set := m.with(s)
		for _, name := range slices.Sorted(maps.Keys(s.over)) {
			where := s.where + ": " + name
			asked, elsewhere := m.used[where], m.used[name]
			switch value := set.get(name); {
			case asked || value == "":
			case elsewhere && value == m.get(name):
			case elsewhere && !isNeedless(name) && remedies[name] == "":
				m.item(where, value, "it holds for this service alone, and dawk has one value for all services: choose one")
			default:
				m.unconverted(name, value, where)
			}
		}
	}
	return nil
}

func (m *migration) unconverted(name, value, where string) {
	remedy, known := remedies[name]
	switch {
	case known && (remedy == "" || strings.EqualFold(value, "no") || value == "0"):
	case name == "local_transport" && strings.HasPrefix(value, "error:"): // no mailboxes there either
	case known:
		m.item(where, value, remedy)
	case isNeedless(name):
	default:
		m.item(where, value, "this parameter is not known here; docs/migrate-postfix.md lists those that are")
	}
}

func isNeedless(name string) bool {
	for _, n := range needless {
		if n == name || strings.HasSuffix(n, "_") && strings.HasPrefix(name, n) {
			return true
		}
	}
	return false
}
