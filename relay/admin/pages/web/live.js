// Keeps the overview live: each event holds the new middle of the page, as the relay made it.
const live = document.getElementById("live");
const events = new EventSource(live.dataset.from);
events.onmessage = e => {
	// What somebody is using by keyboard stays under their hands.
	if (!live.contains(document.activeElement)) live.innerHTML = e.data;
};
