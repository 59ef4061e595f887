"""Cards: the results of an evaluation in a form that others can check; boards compare several cards."""

from advkit.evaluation.cards.board_of_cards import board, board_page
from advkit.evaluation.cards.card_checking import check_beside_run, check_card
from advkit.evaluation.cards.card_text import to_markdown, to_robustbench
from advkit.evaluation.cards.repeating import check_again
from advkit.evaluation.cards.run_card import SCHEMA, make_card, read_card

__all__ = [
    "SCHEMA",
    "board",
    "board_page",
    "check_again",
    "check_beside_run",
    "check_card",
    "make_card",
    "read_card",
    "to_markdown",
    "to_robustbench",
]
