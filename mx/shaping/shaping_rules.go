package shaping

// ShippedRules are what is publicly known of large providers: whose hosts are
// whose, and what they ask of senders. docs/shaping.md has the same table, and
// what the pages say; a test keeps the two in agreement.
//
// Documented figures lower the default and never raise it: what a provider accepts from known
// senders is too much for a new one. Most providers publish none, and their rule only says which
// hosts are theirs.
func ShippedRules() []Rule {
	const november = "2026-11"
	return []Rule{
		{Name: "google", MX: []string{"*.google.com", "*.googlemail.com"}, MessagesPerConnection: 50},
		{Name: "microsoft", MX: []string{"*.protection.outlook.com", "*.mx.microsoft"}},
		{Name: "outlook", MX: []string{"*.olc.protection.outlook.com"}},
		{Name: "yahoo", MX: []string{"*.yahoodns.net"}, MessagesPerConnection: 20,
			Checked: november, Source: "https://help.yahoo.com/kb/SLN3433.html"},
		{Name: "apple", MX: []string{"*.mail.icloud.com"},
			Checked: november, Source: "https://support.apple.com/en-us/102322"},
		{Name: "gmx", MX: []string{"*.gmx.net", "*.gmx.com", "*.web.de"}},
		{Name: "ionos", MX: []string{"*.kundenserver.de", "*.1and1.com", "*.1and1.co.uk", "*.1and1.fr", "*.ionos.com", "*.ionos.de", "*.ionos.co.uk", "*.ionos.fr", "*.ionos.es", "*.ionos.it"}},
		{Name: "t-online", MX: []string{"*.t-online.de"},
			Checked: november, Source: "https://postmaster.t-online.de/index.en.html"},
		{Name: "orange", MX: []string{"*.orange.fr", "*.wanadoo.fr"}, Documented: 3,
			Checked: november, Source: "second hand: https://www.suped.com/knowledge/email-deliverability/technical/what-causes-email-delays-and-ofr_999-errors-when-sending-to-orangefr"},
		{Name: "comcast", MX: []string{"*.comcast.net"}, Documented: 25,
			Checked: november, Source: "http://postmaster.comcast.net/"},
		{Name: "zoho", MX: []string{"*.zoho.com", "*.zoho.eu", "*.zoho.in", "*.zoho.com.au", "*.zoho.jp"}},
		{Name: "qq", MX: []string{"*.qq.com"}},
		{Name: "163", MX: []string{"*.163.com", "*.126.com", "*.netease.com"}},
		{Name: "mailru", MX: []string{"*.mail.ru"}},
		{Name: "yandex", MX: []string{"*.yandex.ru", "*.yandex.net"}},
		{Name: "proton", MX: []string{"*.protonmail.ch"}},
		{Name: "fastmail", MX: []string{"*.messagingengine.com"}},
		{Name: "mimecast", MX: []string{"*.mimecast.com", "*.mimecast.co.za", "*.mimecast-offshore.com"}},
		{Name: "proofpoint", MX: []string{"*.pphosted.com", "*.ppe-hosted.com"},
			Checked: november, Source: "https://support.proofpointessentials.com/index.php?/Knowledgebase/Article/View/334/49/limits-for-sending-and-receiving-email"},
		{Name: "barracuda", MX: []string{"*.barracudanetworks.com"}},
		{Name: "cisco", MX: []string{"*.iphmx.com"}},
		{Name: "messagelabs", MX: []string{"*.messagelabs.com"}},
	}
}
