"use strict";
// Two charts, an echo, an upload, a table: each shows another kind of traffic through a proxy.
const at = (id) => document.getElementById(id);

function chart(name) {
  const points = [];
  let count = 0;
  return (value) => {
    points.push(value);
    if (points.length > 240) points.shift();
    const step = 240 / Math.max(points.length - 1, 1);
    const line = points.map((v, i) => `${i ? "L" : "M"}${(i * step).toFixed(1)} ${(100 - v).toFixed(1)}`).join("");
    at(`${name}-chart`).querySelector(".line").setAttribute("d", line);
    at(`${name}-chart`).querySelector(".area").setAttribute("d", `${line}L240 100L0 100Z`);
    at(`${name}-now`).textContent = value.toFixed(1);
    at(`${name}-points`).textContent = String((count += 1));
  };
}

function overWebSocket() {
  const draw = chart("ws");
  const url = new URL("/api/live/ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.onopen = () => { at("ws-state").textContent = "live"; };
  socket.onclose = () => { at("ws-state").textContent = "closed, reload to go on"; };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if ("echo" in message) at("heard").textContent = `the dashboard heard: ${message.echo}`;
    else draw(message.value);
  };
  at("say").onsubmit = (event) => { event.preventDefault(); socket.send(at("words").value); };
}

function overEvents() {
  const draw = chart("sse");
  const source = new EventSource("/api/live/events");
  source.onopen = () => { at("sse-state").textContent = "live"; };
  source.onerror = () => { at("sse-state").textContent = "reconnecting"; };
  source.onmessage = ({ data }) => draw(JSON.parse(data).value);
}

at("upload").onsubmit = async (event) => {
  event.preventDefault();
  const [file] = at("file").files;
  if (!file) { at("uploaded").textContent = "Choose a file first."; return; }
  at("uploaded").textContent = "Uploading …";
  try {
    const answer = await fetch("/api/upload", { method: "POST", body: file });
    const { bytes, sha256, message } = await answer.json();
    at("uploaded").textContent = answer.ok ? `${bytes} bytes, SHA-256 ${sha256}` : message;
  } catch { at("uploaded").textContent = "The upload did not reach the dashboard."; }
};

async function arrivals() {
  const rows = await (await fetch("/api/arrived")).json();
  at("arrived").replaceChildren(...rows.map(({ field, value }) => {
    const row = document.createElement("tr");
    for (const text of [field, value ?? "–"]) row.appendChild(document.createElement("td")).textContent = text;
    return row;
  }));
}

async function license() {
  const answer = await fetch("/api/licensing/check");
  const valid = answer.ok && (await answer.json());
  const text = answer.ok ? (valid ? "license: valid" : "license: not valid")
    : answer.status === 404 ? "no gate in front" : answer.status === 403 ? "license: no permission to see it" : `license: ${answer.status}`;
  at("license").textContent = text;
  at("license-page").hidden = answer.status === 404;
  at("license").className = `pill ${answer.ok ? (valid ? "good" : "bad") : ""}`;
}

overWebSocket();
overEvents();
arrivals();
license();
