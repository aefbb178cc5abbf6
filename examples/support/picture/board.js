// Draws `board`: the panels of a Grafana dashboard, each with the series of its queries. Of what Grafana can do, it does what this
// dashboard uses; a type, unit or style that it does not know is an error.
'use strict';

const ROW = 30, GAP = 7, GROUND = '#181b1f', GRID = '#2b2e34', TEXT = '#ccccdc';
const NAMED = { green: '#73bf69', red: '#f2495c', orange: '#ff9830', yellow: '#fade2a', blue: '#5794f2', purple: '#b877d9', text: TEXT };
const PALETTE = ['#73bf69', '#f2cc0c', '#8ab8ff', '#ff780a', '#f2495c', '#5794f2', '#b877d9', '#96d98d', '#ffee52', '#c0d8ff', '#ffb357', '#ff7383'];

// Units.

function rounded(value, digits) {
  if (digits !== undefined) return value.toFixed(digits);
  const size = Math.abs(value);
  return String(+value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3));
}

function scaled(value, digits, base, names) {
  let at = 0;
  for (; Math.abs(value) >= base && at < names.length - 1; at++) value /= base;
  return rounded(value, digits) + names[at];
}

// As many units as `digits`, and one.
function duration(value, digits) {
  if (digits === undefined) throw Error('a duration needs decimals: Grafana shows nothing, or the largest unit');
  if (value < 0) return duration(-value, digits) + ' ago';
  const units = { year: 31536000, month: 2592000, week: 604800, day: 86400, hour: 3600, minute: 60, second: 1 };
  const parts = [];
  for (const [name, seconds] of Object.entries(units)) {
    const number = Math.floor(value / seconds);
    if ((number > 0 || parts.length) && parts.length <= digits) {
      parts.push(`${number} ${name}${number === 1 ? '' : 's'}`);
      value -= number * seconds;
    }
  }
  return parts.join(', ') || '0 seconds';
}

function time(value, digits) {
  if (value === 0) return '0 s';
  if (value < 0.001) return rounded(value * 1e6, digits) + ' µs';
  if (value < 1) return rounded(value * 1e3, digits) + ' ms';
  return rounded(value, digits) + ' s';
}

const UNITS = {
  short: (value, digits) => scaled(value, digits, 1000, ['', ' K', ' Mil']),
  bytes: (value, digits) => scaled(value, digits, 1024, [' B', ' KiB', ' MiB', ' GiB']),
  percentunit: (value, digits) => rounded(value * 100, digits) + '%',
  reqps: (value, digits) => rounded(value, digits) + ' req/s',
  ops: (value, digits) => rounded(value, digits) + ' ops/s',
  cps: (value, digits) => rounded(value, digits) + ' c/s',
  s: time,
  dtdurations: duration,
};

function shown({ unit, decimals }, value) {
  if (unit.startsWith('suffix:')) return rounded(value, decimals) + unit.slice('suffix:'.length);
  if (!UNITS[unit]) throw Error(`unknown unit ${unit}`);
  return UNITS[unit](value, decimals);
}

// A value, in words if there is a mapping for it, and its colour.
function meaning(defaults, value) {
  for (const mapping of defaults.mappings || []) {
    const found = mapping.type === 'value' && mapping.options[value];
    if (found) return { text: found.text, color: NAMED[found.color] };
  }
  const step = defaults.thresholds.steps.filter((step) => step.value === null || step.value <= value).at(-1);
  return { text: shown(defaults, value), color: NAMED[step.color] };
}

function mix(color, share) {
  const parts = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  const [over, under] = [parts(color), parts(GROUND)];
  return '#' + over.map((part, at) => Math.round(part * share + under[at] * (1 - share)).toString(16).padStart(2, '0')).join('');
}

function element(parent, name, properties = {}) {
  return parent.appendChild(Object.assign(document.createElement(name), properties));
}

function clock(seconds) {
  return new Date(seconds * 1000).toISOString().slice(11, 16);
}

// Panels.

const PANELS = { stat, table, timeseries, 'state-timeline': states };

function stat(panel, content) {
  const list = element(content, 'div', { className: 'stats' });
  for (const { name, points } of panel.series) {
    const { text, color } = meaning(panel.fieldConfig.defaults, points.at(-1)[1]);
    const one = element(list, 'div');
    element(one, 'small', { textContent: name });
    const value = element(one, 'b', { textContent: text });
    for (let size = 21; value.scrollWidth > value.clientWidth; size--) value.style.fontSize = `${size}px`;
    const mode = panel.options.colorMode;
    if (mode === 'background') Object.assign(one, { className: 'filled', style: `background: ${mix(color, 0.75)}` });
    else if (mode === 'value') value.style.color = color;
  }
}

function table(panel, content) {
  const [{ options: { include } }, { options: { indexByName } }] = panel.transformations;
  const names = [...include.names].sort((one, other) => indexByName[one] - indexByName[other]);
  const table = element(content, 'table');
  const line = (kind, cells) => {
    const row = element(table, 'tr');
    for (const textContent of cells) element(row, kind, { textContent });
  };
  line('th', names);
  for (const { labels } of panel.series) line('td', names.map((name) => labels[name]));
}

function states(panel, content) {
  const list = element(content, 'div', { className: 'states' });
  const at = (seconds) => 100 * (seconds - board.start) / (board.end - board.start);
  for (const { name, points } of panel.series) {
    const row = element(list, 'div');
    element(row, 'label', { textContent: name });
    let begin = 0;
    points.forEach(([from, value], index) => {
      const next = points[index + 1];
      if (next && next[1] === value && next[0] - from <= panel.step) return;
      const [first, last] = [Math.max(points[begin][0], board.start), Math.min(from + panel.step, board.end)];
      const { text, color } = meaning(panel.fieldConfig.defaults, value);
      const share = panel.fieldConfig.defaults.custom.fillOpacity / 100;
      const style = `left: ${at(first)}%; width: ${at(last) - at(first)}%; background: ${mix(color, share)}`;
      const span = element(row, 'span', { textContent: text, style });
      if (span.scrollWidth > span.clientWidth) span.textContent = '';
      begin = index + 1;
    });
  }
  const times = element(content, 'div', { className: 'times' });
  for (let minute = Math.ceil(board.start / 60) * 60; minute <= board.end; minute += 60) {
    element(times, 'span', { textContent: clock(minute), style: `left: ${at(minute)}%` });
  }
}

function timeseries(panel, content, box) {
  const { defaults } = panel.fieldConfig;
  const { custom } = defaults;
  const color = colors(panel);
  if (panel.options.legend.showLegend) {
    const legend = element(box, 'div', { className: 'legend' });
    panel.series.forEach(({ name }, index) => {
      const entry = element(legend, 'span');
      element(entry, 'i', { style: `background: ${color[index]}` });
      entry.append(name);
    });
  }
  const times = [...new Set(panel.series.flatMap(({ points }) => points.map(([at]) => at)))].sort((a, b) => a - b);
  const stacked = custom.stacking.mode === 'normal';
  const below = times.map(() => 0);
  const lines = panel.series.map(({ points }, index) => {
    const values = new Map(points);
    const data = times.map((at, place) => {
      const value = values.get(at) ?? null;
      if (!stacked) return value;
      below[place] += value ?? 0;
      return custom.drawStyle === 'bars' && value === null ? null : below[place];
    });
    const share = custom.fillOpacity / 100;
    // Stacked areas are drawn from the top, each over the one before, and are therefore opaque.
    const fill = stacked ? mix(color[index], share) : color[index] + Math.round(share * 255).toString(16).padStart(2, '0');
    const paths = custom.drawStyle === 'bars' ? uPlot.paths.bars({ size: [0.9, 60] }) : undefined;
    return { data, series: { stroke: color[index], width: custom.lineWidth, fill, paths, points: { show: false }, spanGaps: custom.spanNulls } };
  });
  if (stacked) lines.reverse();
  const axis = { stroke: TEXT, font: '10px DejaVu Sans', grid: { stroke: GRID, width: 1 }, ticks: { show: false } };
  const [width, height] = [content.clientWidth, content.clientHeight];
  const highest = Math.max(...lines.flatMap(({ data }) => data.map((value) => value ?? 0)));
  const range = (_, least, most) => uPlot.rangeNum(defaults.min ?? least ?? 0, highest > 0 ? most : 1, 0.1, true);
  const labels = (_, values) => values.map((value) => shown(defaults, value));
  const powers = Array.from({ length: 40 }, (_, power) => 2 ** power);
  const incrs = defaults.unit === 'bytes' || defaults.decimals === 0 ? powers : undefined;
  const size = (_, values) => 14 + 6.2 * Math.max(3, ...(values || []).map((text) => text.length));
  new uPlot({
    width, height, legend: { show: false }, cursor: { show: false }, padding: [6, 8, 0, 0],
    scales: { x: { time: true, range: [board.start, board.end] }, y: { range } },
    axes: [{ ...axis, size: 24, values: (_, at) => at.map(clock), incrs: [60, 120, 300] }, { ...axis, values: labels, size, space: 28, incrs }],
    series: [{}, ...lines.map(({ series }) => series)],
    hooks: { draw: [(plot) => limits(plot, defaults), marks] },
  }, [times, ...lines.map(({ data }) => data)], content);
}

// The colour of each series: of the palette, or a shade of the colour that an override gives to its name.
function colors({ series, fieldConfig: { overrides } }) {
  const used = {};
  return series.map(({ name }, index) => {
    const rule = overrides.find(({ matcher: { id, options } }) => id === 'byRegexp' && new RegExp(`^(?:${options})$`).test(name));
    if (!rule) return PALETTE[index % PALETTE.length];
    const { mode, fixedColor } = rule.properties.find(({ id }) => id === 'color').value;
    if (mode !== 'shades') throw Error(`unknown mode of colours ${mode}`);
    used[fixedColor] = (used[fixedColor] ?? -1) + 1;
    return mix(NAMED[fixedColor], 1 - 0.18 * used[fixedColor] % 0.7);
  });
}

// Lines at the thresholds that are in sight. The end of a range without a colour has the colour of the range below.
function limits(plot, { thresholds: { steps }, custom }) {
  if (custom.thresholdsStyle.mode !== 'line') return;
  steps.forEach(({ color, value }, at) => {
    if (value === null || value > plot.scales.y.max) return;
    const y = plot.valToPos(value, 'y', true);
    const shown = color === 'transparent' ? steps[at - 1].color : color;
    stroke(plot, NAMED[shown], [plot.bbox.left, y], [plot.bbox.left + plot.bbox.width, y]);
  });
}

// Annotations.
function marks(plot) {
  for (const { time, color } of board.marks) {
    const x = plot.valToPos(time, 'x', true);
    stroke(plot, NAMED[color], [x, plot.bbox.top], [x, plot.bbox.top + plot.bbox.height], [4, 4]);
  }
}

function stroke({ ctx }, style, from, to, dash = []) {
  ctx.save();
  ctx.strokeStyle = style;
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.moveTo(...from);
  ctx.lineTo(...to);
  ctx.stroke();
  ctx.restore();
}

function draw(width) {
  const column = (width - GAP) / 24;
  let bottom = 0;
  for (const panel of board.panels) {
    const { x, y, w, h } = panel.gridPos;
    bottom = Math.max(bottom, (y + h) * ROW);
    const style = `left: ${GAP + x * column}px; top: ${GAP + y * ROW}px; width: ${w * column - GAP}px; height: ${h * ROW - GAP}px`;
    if (panel.type === 'row') {
      element(document.body, 'div', { className: 'row', textContent: panel.title, style });
      continue;
    }
    const box = element(document.body, 'section', { className: 'panel', style });
    element(box, 'h2', { textContent: panel.title });
    const content = element(box, 'div', { className: 'content' });
    if (panel.series.length) PANELS[panel.type](panel, content, box);
    else element(content, 'div', { className: 'none', textContent: panel.fieldConfig.defaults.noValue || 'No data' });
  }
  document.body.style.height = `${bottom + GAP}px`;
}
