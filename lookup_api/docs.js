"use strict";
// Each form sends the request it documents and shows the same request as a curl command.
for (const form of document.querySelectorAll("form")) {
  const method = form.dataset.method;
  const fields = (where) => [...form.querySelectorAll(`input[data-in="${where}"]`)];
  const body = form.querySelector("textarea");
  const quote = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

  const url = () => fields("path").reduce(
    (path, field) => path.replace(`{${field.name}}`, () => encodeURIComponent(field.value)), form.dataset.path);

  const headers = () => {
    const sent = Object.fromEntries(fields("header").filter((field) => field.value).map((field) => [field.name, field.value]));
    if (body) sent["Content-Type"] = "application/json";
    return sent;
  };

  const curl = () => ["curl", "-i", quote(location.origin + url()),
    ...Object.entries(headers()).flatMap(([name, value]) => ["-H", quote(`${name}: ${value}`)]),
    ...(body ? ["-d", quote(body.value)] : [])].join(" ");

  const show = () => { form.querySelector(".curl").textContent = curl(); };

  const pretty = (text) => {
    try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
  };

  form.addEventListener("input", show);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const output = form.querySelector("output");
    const status = form.querySelector(".status");
    const answer = form.querySelector(".answer");
    output.hidden = false;
    try {
      const started = performance.now();
      const response = await fetch(url(), { method, headers: headers(), body: body?.value, cache: "no-store" });
      const text = await response.text();
      const took = (performance.now() - started).toFixed(1);
      const facts = ["ETag", "Foretable-Release", "Foretable-Version", "X-Request-Id"]
        .filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
      status.textContent = [`${response.status} ${response.statusText}`, `${took} ms`, ...facts].join("  ·  ");
      status.classList.toggle("bad", response.status >= 400);
      answer.textContent = pretty(text);
      answer.hidden = !text;
    } catch (error) {
      status.textContent = String(error);
      status.classList.add("bad");
      answer.hidden = true;
    }
  });
  form.querySelector(".copy").addEventListener("click", async (event) => {
    const button = event.target;
    try {
      await navigator.clipboard.writeText(curl());
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(form.querySelector(".curl"));
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy curl"; }, 1500);
  });
  show();
}
