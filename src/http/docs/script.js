// A filter for the contents, a mark where the reader is, and buttons that copy. The pages are whole without it.
'use strict';
for (const block of document.querySelectorAll('pre')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  button.textContent = 'Copy';
  button.setAttribute('aria-label', 'Copy: ' + block.getAttribute('aria-label'));
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(block.querySelector('code').textContent);
      button.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(block.querySelector('code'));
      button.textContent = 'Selected';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  });
  const frame = document.createElement('div');
  frame.className = 'block';
  block.replaceWith(frame);
  frame.append(block, button);
}

const nav = document.querySelector('nav');
const filter = document.createElement('input');
filter.type = 'search';
filter.placeholder = 'Filter (press /)';
filter.setAttribute('aria-label', 'Filter the contents');
nav.querySelector('.pages').after(filter);
filter.addEventListener('input', () => {
  const wanted = filter.value.trim().toLowerCase();
  for (const list of nav.querySelectorAll('h2 + ul')) {
    let shown = 0;
    for (const item of list.children) {
      item.hidden = !item.textContent.toLowerCase().includes(wanted);
      shown += item.hidden ? 0 : 1;
    }
    list.hidden = list.previousElementSibling.hidden = shown === 0;
  }
});
document.addEventListener('keydown', (event) => {
  if (event.key === '/' && document.activeElement !== filter) {
    event.preventDefault();
    filter.focus();
  }
});

// Where the reader is, marked in the contents.
const links = new Map([...nav.querySelectorAll('h2 + ul a')].map((link) => [link.hash.slice(1), link]));
const watch = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    const link = links.get(target.id);
    if (!isIntersecting) {
      link.removeAttribute('aria-current');
      continue;
    }
    link.setAttribute('aria-current', 'true');
  }
}, { rootMargin: '-5% 0px -80% 0px' });
for (const id of links.keys()) watch.observe(document.getElementById(id));
