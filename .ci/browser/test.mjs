// The pages in a real browser: clicks through every page as a person would, with and
// without JavaScript, wide and as wide as a phone, and axe-core on each.
// usage: node test.mjs DAWK [FOLDER for screenshots]
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {createRequire} from "node:module";
import puppeteer from "puppeteer-core";
import {start, send} from "./world.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const [dawk, shots] = process.argv.slice(2);
const world = await start(dawk);
const browser = await puppeteer.launch({executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"], protocolTimeout: 240000});
const ids = {};
try {
	for (let i = 0; i < 4; i++) {
		ids["taken" + i] = await send(world.smtp, `reader${i}@example.com`, `Scan ${i}`);
		ids["later" + i] = await send(world.smtp, `later${i}@example.net`, `Invoice ${i} <img src=x>`);
	}
	ids.gone = await send(world.smtp, "gone@example.com", "Reminder");

	const page = await browser.newPage();
	page.setDefaultTimeout(120000);
	const faults = [];
	page.on("pageerror", e => faults.push(String(e)));
	page.on("console", m => { if (m.type() === "error") faults.push(m.text()); });
	const go = path => page.goto(world.http + path, {waitUntil: "domcontentloaded"});
	const click = selector => Promise.all([page.waitForNavigation({waitUntil: "domcontentloaded"}), page.click(selector)]);
	const text = () => page.$eval("main", m => m.innerText);
	// fine: nothing that strangers wrote has run, axe-core finds nothing serious, and a phone needs no sideways scrolling.
	const fine = async name => {
		assert.equal(await page.evaluate(() => window.hurt), undefined, `${name}: a server's words were run`);
		for (const scheme of ["light", "dark"]) {
			await page.emulateMediaFeatures([{name: "prefers-color-scheme", value: scheme}]);
			await page.setViewport({width: 1200, height: 800});
			await page.evaluate(axe); // by the debugger, which the policy of the page does not bind
			const found = await page.evaluate(() => window.axe.run());
			const serious = found.violations.filter(v => ["serious", "critical"].includes(v.impact));
			assert.deepEqual(serious.map(v => `${v.id}: ${v.nodes[0].html}`), [], `${name}, ${scheme}`);
		}
		await page.emulateMediaFeatures([{name: "prefers-color-scheme", value: "light"}]);
		if (shots) await page.screenshot({path: `${shots}/${name}.png`});
		await page.setViewport({width: 360, height: 740});
		const [wide, all] = await page.evaluate(() => [document.documentElement.clientWidth, document.documentElement.scrollWidth]);
		assert.ok(all <= wide, `${name}: ${all} pixels on a phone of ${wide}`);
		await page.setViewport({width: 1200, height: 800});
		console.log(`ok ${name}`);
	};
	const login = async (name, password) => {
		await page.type("#name", name);
		await page.type("#password", password);
		await click("main button");
	};

	await go("/");
	assert.match(page.url(), /\/login$/);
	await fine("login");
	await login("alice", "wrong horse");
	assert.match(await text(), /name or the password is wrong/);
	faults.length = 0; // the browser tells of the 401
	await page.$eval("#name", e => { e.value = ""; });
	await login("alice", "correct horse");
	assert.match(await text(), /Last quarter of an hour/);
	const cookie = (await page.cookies())[0];
	assert.ok(cookie.httpOnly && cookie.sameSite === "Lax", JSON.stringify(cookie));

	// Live: what happens appears by itself.
	const before = await page.$eval(".lines dd", e => parseInt(e.innerText));
	await send(world.smtp, "reader@example.com", "one more");
	await page.waitForFunction(n => parseInt(document.querySelector(".lines dd").innerText) > n, {}, before);
	await fine("overview");

	await click('nav a[href="/queue"]');
	assert.match(await text(), /greylisted/);
	await fine("queue");
	await page.type("#filter", "colour=red");
	await click(".filter button");
	assert.match(await text(), /filter term 1/);
	faults.length = 0;
	await page.$eval("#filter", e => { e.value = "to=@example.net"; });
	await click(".filter button");
	await page.click(`input[value="${ids.later0}"]`);
	await click('button[value="hold"]');
	assert.match(await text(), /hold: done for 1 deliver/);

	await click(`a[href="/message/${ids.later0}"]`);
	assert.match(await text(), /It is held|on hold/);
	assert.doesNotMatch(await text(), /The body of Invoice 0/);
	await fine("message");
	await click('form[action$="/content"] button');
	assert.match(await text(), /The body of Invoice 0/);
	await go("/message/" + ids.later1);
	await click('button[value="delete"]');
	assert.match(await text(), /Nobody is told/);
	await fine("ask");
	await click("main a");
	assert.match(await text(), /queued/, "No leaves the message alone");
	await click('button[value="delete"]');
	await click("button.danger");
	assert.match(await text(), /delete: done for 1 deliver/);
	await go("/message/" + ids.gone);
	assert.match(await text(), /What happened[^]*gone@example.com failed[^]*there is no such user here[^]*notice/);

	// The history: the same grammar as the queue's, with its faults, and from a record to its message.
	await go("/history?" + new URLSearchParams({filter: `to=gone@example.com is!=accepted reply~"no such user" age<1h`}));
	assert.match(await text(), /1 of 1 records/);
	await click(`a[href="/message/${ids.gone}"]`);
	assert.match(await text(), /What happened/);
	await go("/history?filter=colour=red");
	assert.match(await text(), /filter term 1[^]*there is no term/);
	faults.length = 0;

	for (const [path, says] of [["/providers", /office/], ["/senders", /printer/], ["/history?filter=is=failed", /gone@example.com/], ["/checks?run=yes", /configuration/], ["/audit", /alice/]]) {
		await click(`nav a[href="${path.split("?")[0]}"]`);
		await go(path);
		assert.match(await text(), says, path);
		await fine(path.slice(1).split("?")[0]);
	}
	// Who gets no mail: put on the list, taken off, and each taken back.
	await click('nav a[href="/suppression"]');
	await page.type("#addresses", "one@example.com two@example.com two@example.net");
	await page.type("#reason", "asked <b>by</b> telephone");
	await click('button[value="add"]');
	assert.match(await text(), /On the list: 3/);
	assert.match(await text(), /3 of 3 recipients/);
	assert.match(await text(), /asked <b>by<\/b> telephone/);
	await fine("suppression");
	await click('.done button');
	assert.match(await text(), /Taken off the list: 3[^]*0 of 0 recipients/);
	await click('.done button');
	assert.match(await text(), /Put back: 3[^]*3 of 3 recipients/);
	await page.click('input[value="one@example.com"]');
	await click('fieldset button[value="remove"]');
	assert.match(await text(), /Taken off the list: 1[^]*2 of 2 recipients/);
	await page.type("#filter", "to=@example.net");
	await click(".filter button");
	assert.match(await text(), /1 of 1 recipients/);
	await page.click('input[value="filter"]');
	await click('fieldset button[value="remove"]');
	assert.match(await text(), /Take 1 entries off the list/);
	await fine("suppression-ask");
	await click("button.danger");
	assert.match(await text(), /Taken off the list: 1/);
	await page.type("#addresses", "nobody");
	await click('button[value="add"]');
	assert.match(await text(), /no domain in "nobody"/);
	await page.$eval("#addresses", e => { e.value = "printer@example.org"; });
	await page.type("#expires", "a while");
	await click('button[value="add"]');
	assert.match(await text(), /a while/);
	assert.match(await page.$eval("#addresses", e => e.value), /printer/, "what was typed stays");
	faults.length = 0;

	// Programs that are told: tested, told again, and taken up again after 410.
	await click('nav a[href="/webhooks"]');
	assert.match(await text(), /crm[^]*active/);
	await click('button[value="test"]');
	assert.match(await text(), /crm took the test event: HTTP status 204/);
	await page.type('input[name="terms"]', "is=failed");
	await click('button[value="replay"]');
	assert.match(await text(), /told again: 1 events/);
	await page.type('input[name="terms"]', "colour=red");
	await click('button[value="replay"]');
	assert.match(await text(), /there is no term/);
	world.receiver.answer = 500;
	await click('button[value="test"]');
	assert.match(await text(), /did not take the test event: HTTP status 500/);
	world.receiver.answer = 410;
	await send(world.smtp, "reader@example.com", "the last");
	while (!/ended/.test(await text())) await go("/webhooks");
	await fine("webhooks");
	await go("/");
	assert.match(await text(), /webhook crm is told nothing/);
	await click('main a[href="/webhooks"]');
	world.receiver.answer = 204;
	await click('button[value="enable"]');
	assert.match(await text(), /crm is active/);
	assert.ok(world.receiver.events.some(e => e.type === "failed" && e.data.to === "gone@example.com"));
	assert.deepEqual(faults, []);

	// Another site's form, a form without the token of the session, and a page that is not there.
	const post = (path, headers, body) => page.evaluate(async (path, headers, body) =>
		(await fetch(path, {method: "POST", headers, body, redirect: "manual"})).status, path, headers, body);
	assert.equal(await post("/queue/act", {"Content-Type": "application/x-www-form-urlencoded"}, `verb=delete&id=${ids.later2}&sure=yes&what=filter&filter=`), 403);
	const stranger = await fetch(world.http + "/queue/act", {method: "POST", headers: {Origin: "https://evil.example", Cookie: `${cookie.name}=${cookie.value}`}});
	assert.equal(stranger.status, 403);
	assert.equal((await go("/nothing")).status(), 404);

	// Without JavaScript all but live updates works; who may only look has nothing to act with.
	await go("/");
	await click("header button");
	await page.setJavaScriptEnabled(false);
	await go("/message/" + ids.later2);
	await login("rita", "correct horse");
	assert.match(page.url(), new RegExp(ids.later2 + "$"), "a login leads to where it began");
	assert.equal((await page.$$("main button")).length, 0);
	for (const path of ["/queue", "/suppression", "/webhooks"]) {
		await click(`nav a[href="${path}"]`);
		assert.equal((await page.$$("input[type=checkbox], main form[method=post] button")).length, 0, path);
	}
	await click("header button");
	await go("/queue");
	assert.match(page.url(), /login/);
	await login("alice", "correct horse");
	await page.click(`input[value="${ids.later2}"]`);
	await click('button[value="hold"]');
	assert.match(await text(), /done for 1 deliver/);
	console.log("ok without JavaScript");
} finally {
	await browser.close();
	world.stop();
}
