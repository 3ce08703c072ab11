import numpy as np

from pipeline.paper_trackers import one_person

ONE, OTHER = (40, 80, 100, 150), (160, 90, 210, 150)  # px; the first is larger


def test_the_person_is_followed_whoever_is_seen_best():
    first, second = np.array([[*ONE, 0.99], [*OTHER, 0.98]]), np.array([[*OTHER, 0.995], [*ONE, 0.99]])
    nobody = np.zeros((0, 5))
    followed = one_person([first, second, second[:1], nobody, second, first[:1]])
    assert [len(faces) for faces in followed] == [1, 1, 0, 0, 1, 1]
    assert all(tuple(faces[0, :4]) == ONE for faces in followed if len(faces))
