"""The small neural networks inside couplings and baselines, one per file.

A coupling calls its conditioner on the features that it keeps. The output contains the parameters
with which the coupling transforms the other features. Every class here holds M independent
networks, one per member of a population.
"""

from flows.conditioners.convolution import Convolution as Convolution
from flows.conditioners.convolution import Dropout as Dropout
from flows.conditioners.linear import Linear as Linear
from flows.conditioners.perceptron import Perceptron as Perceptron
from flows.conditioners.perceptron import he_reach as he_reach
from flows.conditioners.smooth_perceptron import SmoothPerceptron as SmoothPerceptron
