// A relay that runs, a next hop that takes, defers and refuses, and mail in it.
import {spawn, spawnSync} from "node:child_process";
import {mkdtempSync, writeFileSync, createWriteStream} from "node:fs";
import {createServer, connect} from "node:net";
import {createServer as createReceiver} from "node:http";
import {join} from "node:path";
import {tmpdir} from "node:os";

export const free = () => new Promise(done => {
	const s = createServer().listen(0, "127.0.0.1", () => { const p = s.address().port; s.close(() => done(p)); });
});

// nextHop answers by the recipient: "later" is deferred, in words that try to run; "gone" is refused.
function nextHop(at) {
	const server = createServer(socket => {
		let data = false, rest = "";
		const say = line => socket.write(line + "\r\n");
		socket.on("error", () => {});
		say("220 mx.example.net");
		socket.on("data", chunk => {
			const lines = (rest + chunk).split("\r\n");
			rest = lines.pop();
			for (const line of lines) {
				const verb = line.toUpperCase();
				if (data) { if (line === ".") { data = false; say("250 2.0.0 taken"); } }
				else if (verb.startsWith("RCPT") && verb.includes("LATER")) say("451 4.7.1 <script>window.hurt=1</script><b>greylisted</b>, try again later");
				else if (verb.startsWith("RCPT") && verb.includes("GONE")) say("550 5.1.1 there is no such user here");
				else if (verb === "DATA") { data = true; say("354 go on"); }
				else if (verb === "QUIT") { say("221 bye"); socket.end(); }
				else say("250 ok");
			}
		});
	});
	return new Promise(done => server.listen(at, "127.0.0.1", () => done(server)));
}

// send hands in one message and gives its queue ID.
export function send(at, to, subject) {
	return new Promise((done, bad) => {
		const socket = connect(at, "127.0.0.1");
		const words = ["EHLO printer", "MAIL FROM:<printer@example.org>", `RCPT TO:<${to}>`, "DATA",
			`From: printer@example.org\r\nTo: ${to}\r\nSubject: ${subject}\r\n\r\nThe body of ${subject}.\r\n.`, "QUIT"];
		socket.on("error", bad);
		socket.on("data", chunk => {
			const line = chunk.toString().split("\r\n").filter(Boolean).pop();
			const id = /queued as (\S+)/.exec(line);
			if (id) done(id[1]);
			if (/^[45]/.test(line)) bad(new Error(line));
			if (words.length) socket.write(words.shift() + "\r\n"); else socket.end();
		});
	});
}

// start makes the world. Its people are alice (operate) and rita (read).
export async function start(dawk) {
	const dir = mkdtempSync(join(tmpdir(), "dawk-browser-"));
	const [smtp, http, hop, hook] = [await free(), await free(), await free(), await free()];
	const receiver = {answer: 204, events: []}; // of webhooks
	const listens = createReceiver((req, res) => {
		let body = "";
		req.on("data", d => { body += d; });
		req.on("end", () => { receiver.events.push(JSON.parse(body)); res.statusCode = receiver.answer; res.end(); });
	}).listen(hook, "127.0.0.1");
	writeFileSync(join(dir, "hook.secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", {mode: 0o600});
	const conf = join(dir, "dawk.toml");
	writeFileSync(conf, `hostname = "relay.example.org"
data_dir = "data"
[[listener]]
address = "127.0.0.1:${smtp}"
profile = "device"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.0/8"]
[[route]]
name = "office"
to = ["*"]
via = ["127.0.0.1:${hop}"]
tls = "off"
[suppression]
[[webhook]]
name = "crm"
url = "http://127.0.0.1:${hook}/mail"
secret_file = "hook.secret"
allow_networks = ["127.0.0.0/8"]
retry = ["1s"]
[http]
address = "127.0.0.1:${http}"
[admin]
operators = "operators.toml"
`);
	const run = (input, ...args) => {
		const r = spawnSync(dawk, ["-c", conf, ...args], {input, encoding: "utf8"});
		if (r.status !== 0) throw new Error(`dawk ${args.join(" ")}: ${r.stderr}`);
		return r.stdout;
	};
	run("correct horse\n", "operator", "add", "alice", "--role", "operate");
	run("correct horse\n", "operator", "add", "rita", "--role", "read");
	run("correct horse\n", "user", "add", "printer", "--senders", "printer@example.org");
	const server = await nextHop(hop);
	const relay = spawn(dawk, ["serve", "-c", conf], {stdio: ["ignore", "ignore", "pipe"]});
	const log = createWriteStream(join(dir, "log"));
	await new Promise((done, bad) => {
		relay.stderr.on("data", d => { log.write(d); if (d.includes("msg=ready")) done(); });
		relay.on("exit", status => bad(new Error(`dawk serve ended with ${status}: see ${dir}/log`)));
	});
	return {http: `http://127.0.0.1:${http}`, smtp, dir, run, receiver, stop: () => { relay.removeAllListeners("exit"); relay.kill(); server.close(); listens.close(); listens.closeAllConnections(); }};
}
