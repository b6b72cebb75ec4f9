"""Matching losses: what makes one method differ from another, free of data sets and parameterizations."""

from condense.matching.class_gradients import class_gradients, matching_over_classes
from condense.matching.features import class_means
from condense.matching.gradients import class_distances, gradient_distance
from condense.matching.inner_sgd import InnerSGD, inner_gradient, real_loss
from condense.matching.refined import (
    REFINED_METRICS,
    image_step,
    is_matched,
    part_of_each,
    refined_defaults,
    refined_distances,
)
from condense.matching.trajectories import Student, start_epochs, student_minibatches
from condense.matching.unrolling import MODES, choose_mode, draw_window, unroll

__all__ = ["InnerSGD", "MODES", "REFINED_METRICS", "Student", "choose_mode", "class_distances", "class_gradients",
           "class_means", "draw_window", "gradient_distance", "image_step", "inner_gradient", "is_matched",
           "matching_over_classes", "part_of_each", "real_loss", "refined_distances", "refined_defaults",
           "start_epochs", "student_minibatches", "unroll"]
