'use strict';
(() => {
  const root = document.documentElement, button = document.getElementById('language');
  const show = lang => {
    root.lang = lang;
    document.querySelectorAll('[data-en]').forEach(e => {
      const text = e.dataset[lang];
      if (e.tagName === 'OPTION') e.textContent = text;
      else if (e.tagName === 'INPUT' || e.tagName === 'TEXTAREA') { e.placeholder = text; e.setAttribute('aria-label', text); }
      else e.setAttribute('aria-label', text);
    });
  };
  button.hidden = false;
  button.addEventListener('click', () => show(root.lang === 'ja' ? 'en' : 'ja'));
})();
