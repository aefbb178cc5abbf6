// The script of the license page. It sends the same forms as a browser without a script, and puts the answer in place: the gate
// renders every page. It keeps nothing, and a token is only ever in the form.
'use strict';
(() => {
  const root = document.documentElement;
  const pick = (selector, from = document) => from.querySelector(selector);
  const LARGEST = 96 * 1024;
  let busy = false;
  let latest = 0;
  let wait;

  // Times in the reader's zone.
  function localize(from) {
    const date = { day: 'numeric', month: 'long', year: 'numeric' };
    const day = new Intl.DateTimeFormat(undefined, { ...date, month: 'short' });
    const format = new Intl.DateTimeFormat(undefined, { ...date, hour: 'numeric', minute: '2-digit', timeZoneName: 'short' });
    const instant = new Intl.DateTimeFormat(undefined, { ...date, hour: 'numeric', minute: '2-digit', second: '2-digit', timeZoneName: 'short' });
    for (const time of from.querySelectorAll('time[datetime]')) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      time.title = format.format(at);
      time.textContent = ({ day, instant }[time.className] || format).format(at);
    }
  }

  function say(text) { pick('#live').textContent = text; }

  // Asks the dashboard for a fresh session. Returns whether it gave one.
  async function rotate() {
    try {
      const answer = await fetch(root.dataset.base + '/api/user/auth-tokens/rotate', { method: 'POST' });
      return answer.ok;
    } catch { return false; }
  }

  // Requests a page; if the session has to be rotated, once more after that.
  async function page(url, options) {
    const get = async () => {
      const answer = await fetch(url, { ...options, headers: { Accept: 'text/html' }, cache: 'no-store' });
      const type = answer.headers.get('Content-Type') || '';
      return { answer, page: type.startsWith('text/html') && new DOMParser().parseFromString(await answer.text(), 'text/html') };
    };
    const first = await get();
    const mayRotate = first.page && first.answer.status === 401 && pick('[data-rotate]', first.page);
    return mayRotate && await rotate() ? get() : first;
  }

  // Puts the content of another page in place, and moves the focus to its result.
  function show(other) {
    const main = pick('main');
    const next = document.adoptNode(pick('main', other));
    main.replaceWith(next);
    pick('header').replaceWith(document.adoptNode(pick('header', other)));
    document.title = other.title;
    begin(next);
    const result = pick('[data-focus]', next) || pick('#notice', next) || pick('h2[tabindex]', next) || next;
    result.focus();
    result.scrollIntoView({ block: 'nearest' });
  }

  // Sends a form in place. `quiet`: only its result is shown, and the focus stays.
  async function send(form, button, quiet) {
    const body = new FormData(form);
    if (!quiet) {
      if (busy) return;
      busy = true;
    }
    clearTimeout(wait);
    const turn = ++latest;
    body.delete('file');
    body.set('action', button ? button.value : 'check');
    const label = button && button.textContent;
    const since = Date.now();
    let clock;
    if (!quiet && button) {
      button.setAttribute('aria-disabled', 'true');
      button.classList.add('busy');
      if (form.dataset.busy) {
        button.textContent = form.dataset.busy;
        say(form.dataset.busy);
        clock = setInterval(() => {
          button.textContent = form.dataset.busy + ' ' + Math.round((Date.now() - since) / 1000) + ' s';
        }, 1000);
      }
    }
    try {
      const got = await page('./', { method: 'POST', body });
      if (turn !== latest) return;
      if (!got.page || !pick('main', got.page)) throw new Error();
      for (const old of document.querySelectorAll('.unreachable')) old.remove();
      if (quiet && got.answer.status !== 401) return result(got.page);
      history.replaceState(null, '', './');
      show(got.page);
    } catch {
      const text = pick('#live').dataset.unreachable;
      if (form.isConnected) {
        complain(form, text);
        say(text);
      }
    } finally {
      if (!quiet) busy = false;
      clearInterval(clock);
      if (button && button.isConnected) {
        button.removeAttribute('aria-disabled');
        button.classList.remove('busy');
        button.textContent = label;
      }
    }
  }

  // A reason that the gate cannot state itself.
  function complain(form, text) {
    for (const old of document.querySelectorAll('.unreachable')) old.remove();
    const wrong = document.createElement('p');
    wrong.className = 'error unreachable';
    wrong.textContent = text;
    form.append(wrong);
  }

  // Shows only what belongs to the token field: the reason, or the result of its check.
  function result(other) {
    for (const [id, before] of [['token-error', '#token'], ['result', null]]) {
      const now = document.getElementById(id);
      const next = other.getElementById(id);
      if (now) now.remove();
      if (!next) continue;
      const fresh = document.adoptNode(next);
      if (before) pick(before).before(fresh); else pick('#install form').append(fresh);
      localize(fresh);
    }
    const field = pick('#token');
    const wrong = pick('#token-error');
    const title = pick('#report');
    if (wrong) field.setAttribute('aria-invalid', 'true'); else field.removeAttribute('aria-invalid');
    field.setAttribute('aria-describedby', wrong ? 'token-hint token-error' : 'token-hint');
    say((wrong || title || { textContent: '' }).textContent);
  }

  function clear() {
    const wrong = pick('#token-error');
    if (wrong) wrong.remove();
    pick('#token').removeAttribute('aria-invalid');
    pick('#result').replaceChildren();
  }

  function refuse(text) {
    clear();
    const wrong = document.createElement('p');
    wrong.className = 'error';
    wrong.id = 'token-error';
    wrong.textContent = text;
    const field = pick('#token');
    field.before(wrong);
    field.setAttribute('aria-invalid', 'true');
    field.setAttribute('aria-describedby', 'token-hint token-error');
    say(text);
  }

  // Reads a file into the field, and has it checked.
  async function take(file, form) {
    const input = pick('#file');
    if (!file) return;
    if (file.size > LARGEST) { refuse(input.dataset.large); input.value = ''; return; }
    const bytes = new Uint8Array(await file.arrayBuffer());
    let text;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
      if (text.includes('\0')) throw new Error();
    } catch { refuse(input.dataset.binary); input.value = ''; return; }
    pick('#token').value = text;
    input.value = '';
    send(form, null, true);
  }

  function install(form) {
    const field = pick('#token');
    field.addEventListener('input', () => {
      clearTimeout(wait);
      latest++;
      clear();
      if (field.value.trim()) wait = setTimeout(() => send(form, null, true), 400);
    });
    pick('#file').addEventListener('change', (event) => take(event.target.files[0], form));
    const card = form.closest('section');
    const over = (event) => {
      if (![...event.dataTransfer.types].some((type) => type === 'Files' || type === 'text/plain')) return;
      event.preventDefault();
      form.classList.add('drop');
    };
    card.addEventListener('dragenter', over);
    card.addEventListener('dragover', over);
    card.addEventListener('dragleave', (event) => { if (!card.contains(event.relatedTarget)) form.classList.remove('drop'); });
    card.addEventListener('drop', (event) => {
      event.preventDefault();
      form.classList.remove('drop');
      const file = event.dataTransfer.files[0];
      if (file) return void take(file, form);
      field.value = event.dataTransfer.getData('text/plain');
      send(form, null, true);
    });
  }

  // The number of users, after the page.
  async function seats(from) {
    const place = pick('#seats[data-load]', from);
    if (!place) return;
    try {
      const got = await page(place.dataset.load, {});
      const next = got.page && pick('#seats', got.page);
      if (!got.answer.ok || !next || !place.isConnected) return;
      place.closest('dd').replaceChildren(...document.adoptNode(next.closest('dd')).childNodes);
    } catch { /* The link stays. */ }
  }

  function begin(from) {
    localize(from);
    for (const form of from.querySelectorAll('form')) {
      if ('download' in form.dataset) continue;
      if ('drop' in form.dataset) install(form);
      form.addEventListener('submit', (event) => {
        event.preventDefault();
        send(form, event.submitter);
      });
    }
    seats(from);
  }

  // A file that misses its place is not opened.
  for (const kind of ['dragover', 'drop']) addEventListener(kind, (event) => { event.preventDefault(); });
  // A page that was left open is as it was: its revision shows what has changed.
  if (location.search) history.replaceState(null, '', './');
  root.classList.add('js');
  begin(document);
})();
