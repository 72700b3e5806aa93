"use strict";
(() => {
  const root = document.documentElement;
  const kept = (key) => { try { return localStorage.getItem("tutelage-" + key); } catch { return null; } };
  const keep = (key, value) => { try { localStorage.setItem("tutelage-" + key, value); } catch { /* a file may have no storage */ } };
  const asked = new URLSearchParams(location.hash.includes("?") ? location.hash.split("?")[1] : location.search);
  const language = asked.get("lang") || kept("lang") || (navigator.language.startsWith("zh") ? "zh" : "en");
  const theme = asked.get("theme") || kept("theme");
  const speak = (value) => { root.dataset.lang = value; root.lang = value; };
  speak(language === "zh" ? "zh" : "en");
  if (theme) root.dataset.theme = theme;
  document.getElementById("lang").addEventListener("click", () => {
    speak(root.dataset.lang === "zh" ? "en" : "zh");
    keep("lang", root.dataset.lang);
  });
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    keep("theme", root.dataset.theme);
  });

  const tip = document.getElementById("tip");
  const number = (value) => Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(+value.toPrecision(4));
  for (const chart of document.querySelectorAll("svg.chart")) {
    const series = JSON.parse(chart.dataset.series);
    const cross = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cross.setAttribute("class", "cross");
    cross.setAttribute("y1", "10");
    cross.setAttribute("y2", String(chart.viewBox.baseVal.height - 24));
    chart.append(cross);
    const show = (event) => {
      const box = chart.getBoundingClientRect();
      const x = (event.clientX - box.left) * chart.viewBox.baseVal.width / box.width;
      let best = null;
      for (const one of series) for (const point of one.points) {
        if (best === null || Math.abs(point[2] - x) < Math.abs(best[2] - x)) best = point;
      }
      if (best === null) return;
      cross.setAttribute("x1", best[2]);
      cross.setAttribute("x2", best[2]);
      chart.classList.add("live");
      tip.replaceChildren();
      const first = document.createElement("div");
      first.textContent = number(best[0]);
      tip.append(first);
      for (const one of series) {
        const near = one.points.reduce((a, b) => Math.abs(b[2] - best[2]) < Math.abs(a[2] - best[2]) ? b : a);
        if (Math.abs(near[2] - best[2]) > 6) continue;
        const line = document.createElement("div");
        line.className = "key " + one.tone;
        line.textContent = one.name + "  " + number(near[1]);
        tip.append(line);
      }
      tip.hidden = false;
      const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
      tip.style.transform = `translate(${Math.max(4, left)}px, ${event.clientY + 14}px)`;
    };
    chart.addEventListener("pointermove", show);
    chart.addEventListener("pointerdown", show);
    chart.addEventListener("pointerleave", () => { tip.hidden = true; chart.classList.remove("live"); });
  }
})();
