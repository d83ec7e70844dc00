"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const rows = new Map([...document.querySelectorAll("tr[data-site]")].map((row) => [Number(row.dataset.site), row]));
  const order = [...rows.keys()];
  const plots = [...document.querySelectorAll("svg[data-sites]")].map((svg) => ({
    svg,
    sites: svg.dataset.sites.split(" ").map(Number),
    left: Number(svg.dataset.left),
    slot: (Number(svg.dataset.right) - Number(svg.dataset.left)) / Number(svg.dataset.columns),
    cursor: null,
  }));
  const slider = document.getElementById("layer-slider");
  const readout = document.getElementById("layer-readout");

  const nearest = (sites, site) => {
    let best = 0;
    sites.forEach((s, i) => { if (Math.abs(s - site) < Math.abs(sites[best] - site)) best = i; });
    return best;
  };

  const place = (plot, site) => {
    if (!plot.cursor) {
      plot.cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
      plot.cursor.setAttribute("class", "cursor");
      plot.cursor.setAttribute("y1", plot.svg.dataset.top);
      plot.cursor.setAttribute("y2", plot.svg.dataset.bottom);
      plot.svg.append(plot.cursor);
    }
    const x = plot.left + (nearest(plot.sites, site) + 0.5) * plot.slot;
    plot.cursor.setAttribute("x1", x);
    plot.cursor.setAttribute("x2", x);
  };

  const describe = (row) => {
    const heads = row.closest("table").tHead.rows[0].cells;
    const parts = [...row.cells].slice(1)
      .map((cell, i) => [heads[i + 1].textContent.trim(), cell.textContent.trim()])
      .filter(([, value]) => value && value !== "–")
      .map(([name, value]) => `${name} ${value}`);
    return [row.cells[0].textContent.trim(), parts.join(" · ")];
  };

  const select = (site, move = true) => {
    const row = rows.get(site);
    if (!row) return;
    document.querySelectorAll("tr.current").forEach((old) => old.classList.remove("current"));
    row.classList.add("current");
    plots.forEach((plot) => place(plot, site));
    if (!readout || !slider) return;
    const [name, values] = describe(row);
    const code = document.createElement("code");
    code.textContent = name;
    readout.replaceChildren(code, document.createElement("br"), values);
    if (move) slider.value = String(order.indexOf(site));
    slider.setAttribute("aria-valuetext", `${name}: ${values}`);
  };

  // A note at the pointer, for the eye only: the readout and the table say the same to everyone.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  const note = (site, event) => {
    const row = rows.get(site);
    tip.hidden = !row || event.pointerType === "touch";
    if (tip.hidden) return;
    const [name, values] = describe(row);
    const code = document.createElement("code");
    code.textContent = name;
    tip.replaceChildren(code, document.createElement("br"), values);
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 16, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 20 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 20}px`;
  };

  plots.forEach((plot) => {
    const at = (event) => {
      const box = plot.svg.getBoundingClientRect();
      const x = (event.clientX - box.left) * (plot.svg.viewBox.baseVal.width / box.width);
      const column = Math.floor((x - plot.left) / plot.slot);
      return plot.sites[Math.min(Math.max(column, 0), plot.sites.length - 1)];
    };
    plot.svg.addEventListener("pointermove", (event) => {
      select(at(event));
      note(at(event), event);
    });
    plot.svg.addEventListener("pointerleave", () => { tip.hidden = true; });
    plot.svg.addEventListener("click", (event) => {
      if (event.target.closest("a")) return;
      const row = rows.get(at(event));
      if (row) { row.hidden = false; row.scrollIntoView({ block: "center" }); }
    });
  });

  if (slider && order.length) {
    slider.max = String(order.length - 1);
    slider.addEventListener("input", () => select(order[Number(slider.value)], false));
  }

  const value = (cell) => {
    const number = Number(cell.dataset.value);
    return cell.dataset.value === undefined || Number.isNaN(number) ? null : number;
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const sorted = [...body.rows].sort((a, b) => {
          const [x, y] = [value(a.cells[column]), value(b.cells[column])];
          if (x === null && y === null) {
            const order = a.cells[column].textContent.localeCompare(b.cells[column].textContent, "en", { numeric: true });
            return down ? order : -order;
          }
          if (x === null) return 1;
          if (y === null) return -1;
          return down ? y - x : x - y;
        });
        body.append(...sorted);
      });
    });
  });

  // In a notebook the page is an about:srcdoc frame, where "#place" would lead to the notebook's own address.
  if (location.protocol === "about:") {
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a");
      const place = link && document.getElementById((link.getAttribute("href") || "").slice(1));
      if (!place) return;
      event.preventDefault();
      document.querySelectorAll(".target").forEach((old) => old.classList.remove("target"));
      place.classList.add("target");
      place.scrollIntoView();
      place.focus({ preventScroll: true });
    });
  }

  const filter = document.getElementById("layer-filter");
  const kind = document.getElementById("layer-kind");
  const status = document.getElementById("layer-count");
  const narrow = () => {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    rows.forEach((row) => {
      const fits = row.textContent.toLowerCase().includes(wanted)
        && (!kind.value || row.dataset.kind === kind.value || (kind.value === "found" && row.classList.contains("flagged")));
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    status.textContent = `${shown} of ${rows.size} rows`;
  };
  if (filter && kind && status) {
    filter.addEventListener("input", narrow);
    kind.addEventListener("input", narrow);
    narrow();
  }
})();
