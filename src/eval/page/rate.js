'use strict';
(() => {
  const sheet = JSON.parse(document.getElementById('sheet').textContent), items = sheet.items;
  const $ = id => document.getElementById(id), key = 'migaki-' + sheet.sheet;
  let at = 0, state = { rater: '', ratings: {} };
  try { state = JSON.parse(localStorage.getItem(key)) || state; } catch (e) { /* no storage: the file remains */ }
  const keep = () => { try { localStorage.setItem(key, JSON.stringify(state)); } catch (e) { /* as above */ } };
  const words = {
    first: ['Answer 1', '答え 1'], second: ['Answer 2', '答え 2'], better: ['Which is better?', 'どちらが良いですか'], tie: ['equal', '同じくらい'],
    note: ['Remarks (not needed)', '自由記述（なくてもよい）'], expected: ['Expected: ', '期待する答え: '], none: ['(empty)', '（空）'],
    name: ['Please enter your name first.', '先にお名前を入れてください。'], saved: ['Saved. Send the file to whoever gave you this page.', '保存しました。このファイルを送り主に返してください。'],
    wrong: ['This file is not of this page.', 'このページのファイルではありません。'], full: ['Every question has been rated.', 'すべての質問に入力しました。'],
    nothing: ['There is nothing to rate.', '評価する質問がありません。'],
  };
  const make = (tag, parent, text) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; parent.append(e); return e; };
  const both = (parent, pair) => { ['en', 'ja'].forEach((lang, i) => { make('span', parent, pair[i]).lang = lang; }); };
  const say = pair => { $('said').textContent = ''; if (pair) both($('said'), pair); };
  const rating = i => state.ratings[items[i].item] ||= { first: {}, second: {} };
  const complete = i => {
    const r = state.ratings[items[i].item];
    return !!r && sheet.criteria.every(c => c.key in r.first && c.key in r.second) && (!sheet.preference || !!r.preference);
  };
  const count = () => {
    const n = items.filter((_, i) => complete(i)).length;
    $('done').max = Math.max(1, items.length);
    $('done').value = n;
    $('count').textContent = n + ' / ' + items.length;
  };
  const choice = (row, name, label, checked, set) => {
    const l = make('label', row), input = make('input', l);
    input.type = 'radio';
    input.name = name;
    input.checked = checked;
    if (Array.isArray(label)) both(l, label); else make('span', l, label);
    input.addEventListener('change', () => { set(); keep(); count(); });
  };
  const points = (box, c, r) => {
    const set = make('fieldset', box);
    both(make('legend', set), [c.en, c.ja]);
    ['first', 'second'].forEach(side => {
      const row = make('div', set);
      row.className = 'row';
      both(make('span', row), words[side]);
      for (let v = c.most; v >= c.least; v--)
        choice(row, c.key + side, c.most === 1 ? (v ? '○' : '×') : String(v), r[side][c.key] === v, () => { r[side][c.key] = v; });
    });
  };
  const show = () => {
    const box = $('item');
    box.textContent = '';
    if (!items.length) { both(make('p', box), words.nothing); return; }
    const x = items[at], r = rating(at);
    make('p', box, at + 1 + ' / ' + items.length).className = 'small';
    make('h2', box, x.question);
    if (x.expected) { const p = make('p', box); both(p, words.expected); p.append(x.expected); }
    const pair = make('div', box);
    pair.className = 'answers';
    ['first', 'second'].forEach(side => {
      const a = make('div', pair);
      a.className = 'answer';
      both(make('b', a), words[side]);
      if (x[side]) a.append(x[side]); else both(a, words.none);
    });
    sheet.criteria.forEach(c => points(box, c, r));
    if (sheet.preference) {
      const set = make('fieldset', box), row = make('div', set);
      both(set.insertBefore(document.createElement('legend'), row), words.better);
      row.className = 'row';
      ['first', 'tie', 'second'].forEach(v => choice(row, 'preference', words[v], r.preference === v, () => { r.preference = v; }));
    }
    const set = make('fieldset', box);
    both(make('legend', set), words.note);
    const note = make('textarea', set, r.note || '');
    note.maxLength = 3000;
    note.addEventListener('input', () => { r.note = note.value; keep(); });
    $('back').disabled = at === 0;
    $('next').disabled = at === items.length - 1;
    count();
  };
  const go = to => { at = Math.min(Math.max(to, 0), Math.max(0, items.length - 1)); say(); show(); };
  $('back').addEventListener('click', () => go(at - 1));
  $('next').addEventListener('click', () => go(at + 1));
  $('open').addEventListener('click', () => {
    const i = items.findIndex((_, k) => !complete(k));
    if (i < 0) say(words.full); else go(i);
  });
  $('rater').value = state.rater;
  $('rater').addEventListener('input', () => { state.rater = $('rater').value.trim(); keep(); });
  $('save').addEventListener('click', () => {
    if (!state.rater) { say(words.name); $('rater').focus(); return; }
    const said = r => Object.keys(r.first).length || Object.keys(r.second).length || r.preference || r.note;
    const ratings = items.filter(x => state.ratings[x.item] && said(state.ratings[x.item])).map(x => ({ item: x.item, ...state.ratings[x.item] }));
    const text = JSON.stringify({ format: 'migaki ratings 1', sheet: sheet.sheet, rater: state.rater, ratings }, null, 1) + '\n';
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
    link.download = 'ratings-' + state.rater.replace(/[^\p{L}\p{N}_-]+/gu, '_') + '.json';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(words.saved);
  });
  $('load').addEventListener('change', async () => {
    try {
      const file = JSON.parse(await $('load').files[0].text());
      if (file.sheet !== sheet.sheet || !Array.isArray(file.ratings)) throw new Error('another sheet');
      state = { rater: String(file.rater), ratings: {} };
      file.ratings.forEach(({ item, ...r }) => { state.ratings[item] = { ...r, first: r.first || {}, second: r.second || {} }; });
      $('rater').value = state.rater;
      keep();
      go(at);
    } catch (e) { say(words.wrong); }
    $('load').value = '';
  });
  show();
})();
