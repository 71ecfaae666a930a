"""The page that shows what capture made: ``report/index.html``, readable without a network."""
