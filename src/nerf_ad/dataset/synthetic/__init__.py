"""People who never were, with known truth: for tests, for the demo, and to train our own estimators on."""

from nerf_ad.dataset.synthetic.analytic import PersonTruth as PersonTruth
from nerf_ad.dataset.synthetic.analytic import make_person as make_person
