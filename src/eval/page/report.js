'use strict';
(() => {
  const filter = document.querySelector('.filter');
  addEventListener('beforeprint', () => document.querySelectorAll('details').forEach(d => { d.open = true; }));
  if (!filter) return;
  const rows = [...document.querySelectorAll('.q')], buttons = [...filter.querySelectorAll('button')];
  const category = filter.querySelector('select'), search = filter.querySelector('input'), shown = filter.querySelector('output');
  const text = new Array(rows.length);
  let state = '', timer = 0;
  const fold = s => s.normalize('NFKC').toLowerCase();
  const apply = () => {
    const words = fold(search.value).split(/\s+/).filter(Boolean);
    let n = 0;
    rows.forEach((row, i) => {
      let on = (!state || row.classList.contains(state)) && (category.value === '' || row.dataset.c === category.value);
      if (on && words.length) {
        text[i] ??= fold(row.textContent);
        on = words.every(w => text[i].includes(w));
      }
      if (row.hidden === on) row.hidden = !on;
      n += on;
    });
    shown.textContent = n + ' / ' + rows.length;
  };
  buttons.forEach(b => b.addEventListener('click', () => {
    state = b.value;
    buttons.forEach(o => o.setAttribute('aria-pressed', o === b));
    apply();
  }));
  category.addEventListener('change', apply);
  search.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(apply, 120); });
  filter.hidden = false;
  apply();
})();
