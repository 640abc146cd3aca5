// What a pointer, a finger or the arrow keys read off a chart. Texts are set as text, never as HTML.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const labels = JSON.parse(document.getElementById("labels").textContent);
  const make = (name, parent, className) => {
    const it = parent.appendChild(document.createElement(name));
    if (className) it.className = className;
    return it;
  };
  const shown = (value) => {
    if (typeof value !== "number") return value;
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(3) : String(Number(value.toPrecision(5)));
  };
  const nearest = (steps, wanted) => {
    let low = 0, high = steps.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < wanted) low = middle + 1; else high = middle;
    }
    return low > 0 && wanted - steps[low - 1] <= steps[low] - wanted ? low - 1 : low;
  };

  const prepare = (figure) => {
    const chart = JSON.parse(figure.querySelector("script").textContent);
    const svg = figure.querySelector("svg"), cursor = figure.querySelector(".cursor");
    const box = svg.viewBox.baseVal, [left, right, top, bottom] = chart.frame;
    const dots = document.createElementNS(SVG, "g");
    svg.appendChild(dots);
    const readout = make("div", figure, "readout");
    readout.hidden = true;
    readout.setAttribute("role", "status");
    let at = null;

    const across = (step) => left + (step - chart.steps[0]) / (chart.steps[1] - chart.steps[0]) * (right - left);
    const upwards = (value) => {
      const isLog = figure.classList.contains("is-log"), read = isLog ? Math.log10 : (it) => it;
      const [low, high] = (isLog ? chart.log : chart.linear).map(read);
      return bottom - (read(value) - low) / (high - low) * (bottom - top);
    };
    const show = (wanted) => {
      let step = null;
      for (const [, steps] of chart.series) {
        const near = steps[nearest(steps, wanted)];
        if (step === null || Math.abs(near - wanted) < Math.abs(step - wanted)) step = near;
      }
      at = step;
      const x = across(step);
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, x);
      cursor.style.visibility = "visible";
      readout.replaceChildren();
      dots.replaceChildren();
      make("p", readout).textContent = "step " + step.toLocaleString("en");
      for (const [run, steps, values] of chart.series) {
        const index = nearest(steps, step);
        if (chart.series.length > 1 && Math.abs(steps[index] - step) > (chart.steps[1] - chart.steps[0]) / 50) continue;
        const line = make("p", readout, "c" + run % 8);
        make("span", line, "swatch");
        make("span", line).textContent = labels.length > 1 ? labels[run] : "";
        make("b", line).textContent = shown(values[index]);
        if (typeof values[index] === "number" && Math.abs(values[index]) <= 1e150) {
          const dot = document.createElementNS(SVG, "circle");
          dot.setAttribute("class", "at c" + run % 8);
          dot.setAttribute("cx", across(steps[index]));
          dot.setAttribute("cy", upwards(values[index]));
          dot.setAttribute("r", 3.5);
          dots.appendChild(dot);
        }
      }
      readout.hidden = false;
      const place = svg.offsetLeft + x / box.width * svg.clientWidth, room = figure.clientWidth;
      const isRight = place > room / 2;
      readout.style.left = isRight ? "auto" : place + 12 + "px";
      readout.style.right = isRight ? room - place + 12 + "px" : "auto";
    };
    const hide = () => {
      at = null;
      readout.hidden = true;
      cursor.style.visibility = "hidden";
      dots.replaceChildren();
    };
    const follow = (event) => {
      const seen = svg.getBoundingClientRect();
      const x = (event.clientX - seen.left) / seen.width * box.width;
      show(chart.steps[0] + (x - left) / (right - left) * (chart.steps[1] - chart.steps[0]));
    };
    const move = (by) => {
      const [, steps] = chart.series[0];
      const index = at === null ? 0 : nearest(steps, at) + by;
      show(steps[Math.max(0, Math.min(steps.length - 1, index))]);
    };
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
      if (by !== undefined) { move(by); event.preventDefault(); }
      if (event.key === "Escape") hide();
    });
    const toggle = figure.querySelector("button");
    if (toggle) {
      toggle.hidden = false;
      toggle.addEventListener("click", () => {
        toggle.setAttribute("aria-pressed", figure.classList.toggle("is-log"));
        if (at !== null) show(at);
      });
    }
  };
  document.querySelectorAll("figure.chart").forEach(prepare);
})();
