// A picture of metrics/grafana.json without Grafana: a real Prometheus scrapes a lively relay, each
// panel's own queries are asked, and their answers are drawn where the panel stands.
// usage: node dashboard.mjs DAWK FILE.png [MINUTES]
import {spawn} from "node:child_process";
import {mkdtempSync, readFileSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import puppeteer from "puppeteer-core";
import {free, start, send} from "./world.mjs";

const [dawk, file, minutes = "15"] = process.argv.slice(2);
const dashboard = JSON.parse(readFileSync(process.env.DASHBOARD ?? "metrics/grafana.json", "utf8"));
const world = await start(dawk);
const dir = mkdtempSync(join(tmpdir(), "dawk-dashboard-"));
writeFileSync(join(dir, "prometheus.yml"), `
global: {scrape_interval: 5s}
scrape_configs:
  - job_name: dawk
    static_configs: [{targets: ["${world.http.slice("http://".length)}"], labels: {}}]
    relabel_configs: [{target_label: instance, replacement: relay.example.org}]
`);
const at = await free();
const prometheus = spawn("prometheus", [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${dir}/data`, `--web.listen-address=127.0.0.1:${at}`], {stdio: "ignore"});
const pause = ms => new Promise(done => setTimeout(done, ms));

// A morning in little: it comes in waves, some is put off, a little is refused.
const began = Date.now(), mail = {late: 0};
for (let i = 0; Date.now() - began < minutes * 60_000; i++) {
	const phase = (Date.now() - began) / (minutes * 60_000);
	const to = i % 23 === 0 ? `gone${i}@example.com` : i % 11 === 0 && phase > 0.3 && phase < 0.6 ? `later${i}@example.net` : `reader${i}@example.com`;
	if (to.startsWith("later")) mail.late++;
	await send(world.smtp, to, `Scan ${i}`).catch(() => {});
	await pause(150 + 700 * Math.abs(Math.sin(phase * 7)));
	if (phase > 0.8 && mail.late) { world.run("", "queue", "delete", "to=later*"); mail.late = 0; }
}

const end = Math.floor(Date.now() / 1000), begin = end - minutes * 60;
async function series(expr) {
	const query = expr.replaceAll("$instance", ".*").replaceAll("$__rate_interval", "1m");
	const asked = new URLSearchParams({query, start: begin, end, step: 5});
	const answer = await (await fetch(`http://127.0.0.1:${at}/api/v1/query_range?${asked}`)).json();
	if (answer.status !== "success") throw new Error(`${query}: ${answer.error}`);
	return answer.data.result.map(r => ({labels: r.metric, points: r.values.map(([t, v]) => [t, Number(v)])}));
}

const html = s => s.replace(/[&<>"]/g, c => `&#${c.charCodeAt(0)};`);
const short = v => v >= 2 ** 30 ? `${(v / 2 ** 30).toFixed(1)} Gi` : v >= 2 ** 20 ? `${(v / 2 ** 20).toFixed(1)} Mi` : v >= 1e4 ? `${(v / 1e3).toFixed(1)} k` : String(Number(v.toPrecision(3)));
const colours = ["#1b6ac9", "#2e8540", "#c9571b", "#7a3fb0", "#b0243f", "#0f7d85", "#8a6d00", "#555"];
const named = (target, labels) => (target.legendFormat ?? "").replace(/\{\{\s*(\w+)\s*\}\}/g, (_, k) => labels[k] ?? "") || target.expr.split("{")[0].split("(").pop();

async function panel(p) {
	const lines = [];
	for (const target of p.targets ?? []) for (const s of await series(target.expr)) lines.push({...s, name: named(target, s.labels)});
	const place = `grid-column: ${p.gridPos.x + 1} / span ${p.gridPos.w}; grid-row: ${p.gridPos.y + 1} / span ${p.gridPos.h}`;
	const last = s => s.points.at(-1)?.[1];
	if (p.type === "stat") {
		const v = lines.length ? last(lines[0]) : NaN;
		const said = p.fieldConfig?.defaults?.mappings?.find(m => m.type === "value")?.options?.[v]?.text;
		return `<section style="${place}"><h2>${html(p.title)}</h2><b>${html(said ?? (Number.isNaN(v) ? "–" : short(v) + (p.fieldConfig?.defaults?.unit === "s" ? " s" : "")))}</b></section>`;
	}
	const top = Math.max(1e-9, ...lines.flatMap(s => s.points.map(x => x[1])).filter(Number.isFinite));
	const drawn = lines.map((s, i) => `<polyline fill="none" stroke="${colours[i % colours.length]}" stroke-width="2" points="${
		s.points.filter(x => Number.isFinite(x[1])).map(([t, v]) => `${((t - begin) / (end - begin) * 560).toFixed(1)},${(130 - v / top * 125).toFixed(1)}`).join(" ")}"/>`).join("");
	const legend = lines.slice(0, 8).map((s, i) => `<li style="color: ${colours[i % colours.length]}">${html(s.name)}</li>`).join("");
	return `<section style="${place}"><h2>${html(p.title)}</h2><svg viewBox="0 0 600 135" height="112" preserveAspectRatio="none"><text x="565" y="12">${top > 1e-9 ? short(top) : ""}</text><text x="565" y="132">0</text><path d="M0 130H560M0 5H560" stroke="#ddd"/>${drawn}</svg><ul>${legend}</ul></section>`;
}

const browser = await puppeteer.launch({executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"]});
try {
	const panels = [];
	for (const p of dashboard.panels) panels.push(await panel(p));
	const page = await browser.newPage();
	await page.setViewport({width: 1240, height: 900});
	await page.setContent(`<style>body {font: 13px sans-serif; margin: 8px; background: #f4f5f7} main {display: grid; grid-template-columns: repeat(24, 1fr); grid-auto-rows: 19px; gap: 6px}
		section {background: #fff; border: 1px solid #ddd; padding: 4px 8px; overflow: hidden} h2 {font-size: 13px; margin: 0 0 4px} b {font-size: 24px} svg {width: 100%; display: block} text {font-size: 10px; fill: #555}
		ul {margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 12px; list-style: none}</style><main>${panels.join("")}</main>`);
	await page.screenshot({path: file, fullPage: true});
} finally {
	await browser.close();
	prometheus.kill();
	world.stop();
}
