/* Keeps the card of a sampling job true while it runs: words and bar each second, said aloud only now and then.
   Without this script the page renews itself; nothing else of it needs one. */
const card = document.querySelector("[data-watch]");
const part = (name) => card.querySelector(`[data-job=${name}]`);
const wait = (seconds) => setTimeout(look, 1000 * seconds);
let told = "";

function show(job) {
  const line = [job.said.line, job.said.left].filter(Boolean).join(" ");
  const bar = card.querySelector("progress");
  part("state").textContent = job.said.state;
  part("line").textContent = line;
  bar.max = job.wanted;
  if (job.state === "running" && job.done) bar.value = job.done;
  else if (job.state === "queued") bar.value = 0;
  else bar.removeAttribute("value");
  const news = `${job.state} ${Math.floor((4 * job.done) / job.wanted)}`;
  if (told && news !== told) part("told").textContent = line; /* each quarter, and when it begins */
  told = news;
}

async function look() {
  try {
    const reply = await fetch(card.dataset.watch, { headers: { accept: "application/json" } });
    if (reply.status === 401 || reply.status === 403) return location.reload();
    if (!reply.ok) return wait(5);
    const { job } = await reply.json();
    if (!job || !["queued", "running"].includes(job.state)) {
      location.hash = "job"; /* where reading and the keyboard go on */
      return location.reload();
    }
    show(job);
    wait(1);
  } catch {
    wait(5); /* the server is away: it says more when it is back */
  }
}

wait(0.5);
