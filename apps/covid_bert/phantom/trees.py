"""Branching trees of vessels and airways, and the tubes of the mediastinum, as lists of tapering tubes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.phantom.anatomy import Anatomy

Points = npt.NDArray[np.float64]

# How much a tree prefers short ways to its root over a short total length (H. Cuntz et al., "One rule to grow them
# all", PLoS Computational Biology 2010).
BALANCE = 0.35

# Flow grows with this power of the radius: 3 in Murray's law, 2.4 to 2.9 as measured in lungs.
MURRAY_EXPONENT = 2.6


@dataclass(frozen=True, eq=False)
class Tubes:
    """Straight tubes with rounded ends.

    Parameters
    ----------
    starts, ends
        (n, 3), x, y and z in mm.
    start_radii, end_radii
        (n,), mm.
    """

    starts: Points
    ends: Points
    start_radii: npt.NDArray[np.float64]
    end_radii: npt.NDArray[np.float64]

    @classmethod
    def along(cls, points: Points, radii: npt.NDArray[np.float64] | float) -> Tubes:
        """Return the tubes along a line of points, with one radius or one for each point."""
        every = np.broadcast_to(np.asarray(radii, dtype=float), (len(points),))
        return cls(points[:-1], points[1:], every[:-1], every[1:])

    @classmethod
    def join(cls, parts: list[Tubes]) -> Tubes:
        """Return all tubes of several sets."""
        return cls(
            np.concatenate([part.starts for part in parts]),
            np.concatenate([part.ends for part in parts]),
            np.concatenate([part.start_radii for part in parts]),
            np.concatenate([part.end_radii for part in parts]),
        )

    def widened(self, millimeters: float, factor: float = 1.0) -> Tubes:
        """Return the tubes with radii times `factor` plus `millimeters` (the outer surface of a wall)."""
        return Tubes(
            self.starts,
            self.ends,
            self.start_radii * factor + millimeters,
            self.end_radii * factor + millimeters,
        )


def grow(root: Points, targets: Points, tip_radius: float, root_radius: float) -> Tubes:
    """Grow a tree from `root` that reaches every target, and give its branches radii by a law like Murray's.

    Parameters
    ----------
    root
        (3,) in mm.
    targets
        (n, 3) in mm.
    tip_radius, root_radius
        Radius in mm of the thinnest branches, and the most that a branch may have.
    """
    points = np.concatenate([root[None], targets])
    order, parent_of = _minimum_spanning_parents(points)
    # Every target was joined after its parent, so walking back over the order of joining adds up the tips.
    flow = np.zeros(len(points))
    has_child = np.zeros(len(points), dtype=bool)
    has_child[parent_of[1:]] = True
    flow[~has_child] = 1.0
    for node in order[:0:-1]:
        flow[parent_of[node]] += flow[node]
    radii = np.minimum(tip_radius * flow ** (1 / MURRAY_EXPONENT), root_radius)
    children = order[1:]
    # A branch keeps its own radius from its start on; only the trunk tapers.
    start_radii = np.minimum(radii[parent_of[children]], 1.25 * radii[children])
    return Tubes(points[parent_of[children]], points[children], start_radii, radii[children])


def _minimum_spanning_parents(points: Points) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    count = len(points)
    parent_of = np.zeros(count, dtype=np.int64)
    path = np.zeros(count)
    distance = np.linalg.norm(points - points[0], axis=1)
    cost = distance.copy()
    cost[0] = np.inf
    order = np.zeros(count, dtype=np.int64)
    open_nodes = np.ones(count, dtype=bool)
    open_nodes[0] = False
    for step in range(1, count):
        node = int(np.argmin(np.where(open_nodes, cost, np.inf)))
        order[step] = node
        open_nodes[node] = False
        parent = parent_of[node]
        path[node] = path[parent] + np.linalg.norm(points[node] - points[parent])
        distance = np.linalg.norm(points - points[node], axis=1)
        candidate = distance + BALANCE * path[node]
        better = open_nodes & (candidate < cost)
        cost[better] = candidate[better]
        parent_of[better] = node
    return order, parent_of


def lung_trees(anatomy: Anatomy, generator: np.random.Generator) -> tuple[Tubes, Tubes]:
    """Return the pulmonary vessels and the airways inside the lungs.

    Returns
    -------
    vessels
        An arterial and a venous tree for each lung.
    airways
        One tree of lumina for each lung, from the end of its main bronchus.
    """
    points = anatomy.points_in_lungs(generator, 8000, 3.5)
    vessels, airways = [], []
    for side in (-1.0, 1.0):
        own = points[points[:, 0] * side > 0]
        arteries, veins = own[:380], own[380:760]
        vessels.append(grow(np.array([side * 30.0, 10.0, 12.0]), arteries, 0.6, 7.0))
        vessels.append(grow(np.array([side * 28.0, 14.0, -14.0]), veins, 0.6, 6.5))
        rest = own[760:]
        deep = rest[anatomy.lung_depth(rest) > 16.0]
        airways.append(grow(main_bronchus(side)[-1], deep[:34], 1.0, 4.0))
    return Tubes.join(vessels), Tubes.join(airways)


def main_bronchus(side: float) -> Points:
    """Return the course of the right (-1) or left (1) main bronchus from the carina to the lung."""
    carina = trachea()[-1]
    end = (-36.0, 17.0, 8.0) if side < 0 else (40.0, 22.0, 4.0)
    middle = carina + (np.array(end) - carina) * 0.5 + np.array([0.0, 2.0, 2.0])
    return np.stack([carina, middle, np.array(end)])


def trachea() -> Points:
    """Return the course of the trachea from above the chest down to the carina."""
    z = np.array([230.0, 130.0, 100.0, 70.0, 34.0])
    return np.stack([np.array([0.0, 0.0, -1.0, -1.0, 0.0]), np.array([2.0, 8.0, 12.0, 15.0, 18.0]), z], axis=1)


def central_airways(anatomy: Anatomy) -> Tubes:
    """Return the lumina of the trachea and the main bronchi."""
    radius = anatomy.trachea_radius
    right = Tubes.along(main_bronchus(-1.0), np.array([0.85, 0.72, 0.6]) * radius)
    left = Tubes.along(main_bronchus(1.0), np.array([0.8, 0.65, 0.55]) * radius)
    return Tubes.join([Tubes.along(trachea(), radius), right, left])


def great_vessels(anatomy: Anatomy) -> Tubes:
    """Return the aorta, the great veins, the pulmonary trunk, the arteries of the neck and the oesophagus."""
    r = anatomy.aorta_radius
    aorta = [
        (-6, -26, -6),
        (-11, -27, 18),
        (-10, -22, 38),
        (-2, -8, 53),
        (9, 10, 56),
        (19, 27, 48),
        (22, 36, 30),
    ]
    descending = [(22, 36, 30), (23, 39, -10), (21, 41, -60), (14, 42, -110), (6, 40, -220)]
    lines: list[tuple[list[tuple[float, float, float]], float]] = [
        ([(float(x), float(y), float(z)) for x, y, z in aorta], 1.15 * r),
        ([(float(x), float(y), float(z)) for x, y, z in descending], 0.9 * r),
        ([(-22, -14, 75), (-25, -10, 40), (-26, -8, -5)], 9.0),
        ([(-22, -14, 75), (-4, -30, 80), (26, -24, 92), (50, -18, 104)], 6.5),
        ([(-22, -14, 75), (-30, -14, 100), (-52, -16, 108)], 6.5),
        ([(8, -32, -8), (14, -20, 10), (18, -8, 18)], 13.0),
        ([(18, -8, 18), (-6, 0, 12), (-32, 6, 10)], 9.5),
        ([(18, -8, 18), (28, 6, 18), (33, 14, 12)], 9.5),
        ([(-26, 8, -12), (0, 14, -24), (27, 14, -12)], 9.0),
        ([(-4, -12, 52), (-14, -8, 80), (-22, 2, 120), (-25, 8, 230)], 5.5),
        ([(4, 2, 55), (10, -2, 85), (22, 4, 120), (25, 8, 230)], 4.0),
        ([(12, 14, 56), (22, 14, 85), (38, 10, 108)], 4.5),
        ([(0, 30, 230), (3, 33, 90), (5, 36, 20), (4, 34, -40), (14, 22, -95)], 6.0),
        ([(-22, 2, -60), (-24, 6, -90), (-20, 16, -220)], 11.0),
    ]
    return Tubes.join([Tubes.along(np.array(points, dtype=float), radius) for points, radius in lines])


def shoulder_bones() -> Tubes:
    """Return clavicles and the heads of the humeri with raised arms."""
    parts = []
    for side in (-1.0, 1.0):
        clavicle = np.array([[20.0, -58.0, 96.0], [60.0, -50.0, 108.0], [100.0, -22.0, 122.0], [132.0, -4.0, 126.0]])
        humerus = np.array([[150.0, 14.0, 122.0], [168.0, 10.0, 150.0], [182.0, -10.0, 260.0]])
        mirror = np.array([side, 1.0, 1.0])
        parts.append(Tubes.along(clavicle * mirror, np.array([7.0, 5.0, 5.0, 5.5])))
        parts.append(Tubes.along(humerus * mirror, np.array([22.0, 17.0, 11.0])))
    return Tubes.join(parts)
