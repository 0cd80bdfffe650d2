// Filters the examples: those that have every word of the search field stay, and the first ten of them are open.
"use strict";
{
  const field = document.querySelector("#search input");
  const cards = [...document.querySelectorAll("details.example")].map((card) => ({
    card,
    text: [...card.querySelectorAll("code, pre")].map((part) => part.textContent).join("\n").toLowerCase(),
  }));

  function filter() {
    const words = field.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const { card, text } of cards) {
      card.hidden = !words.every((word) => text.includes(word));
      card.open = !card.hidden && ++shown <= 10;
    }
    document.querySelector("#search output").value = `${shown} of ${cards.length} shown`;
  }

  if (field) {
    document.querySelector("#search").hidden = false; // without this script there is nothing to search with
    field.addEventListener("input", filter);
    filter();
  }
}
