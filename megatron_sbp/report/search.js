// Filters the examples: those of the chosen synthesizer that have every word of the search field stay, and the first ten
// of them are open.
"use strict";
{
  const field = document.querySelector("#search input");
  const writer = document.querySelector("#search select");
  const cards = [...document.querySelectorAll("details.example")].map((card) => ({
    card,
    text: [...card.querySelectorAll("code, pre")].map((part) => part.textContent).join("\n").toLowerCase(),
  }));

  function filter() {
    const words = field.value.toLowerCase().split(/\s+/);
    const mine = cards.filter(({ card }) => !writer?.value || card.dataset.synthesizer === writer.value);
    let shown = 0;
    for (const { card } of cards) card.hidden = true;
    for (const { card, text } of mine) {
      card.hidden = !words.every((word) => text.includes(word));
      card.open = !card.hidden && ++shown <= 10;
    }
    document.querySelector("#search output").value = `${shown} of ${mine.length} shown`;
  }

  if (field) {
    document.querySelector("#search").hidden = false; // without this script there is nothing to search with
    field.addEventListener("input", filter);
    writer?.addEventListener("change", filter);
    filter();
  }
}
