# make_map_cases.py -- what scikit-learn says of the points that test_map.c makes itself (same generator, same numbers).
#
#     python tests/eval/make_map_cases.py        prints the C constants
import numpy as np, sklearn
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness

N, D = 400, 16
state = 1
def draw():  # Park and Miller's generator: exact in every language
    global state
    state = state * 16807 % 2147483647
    return state / 2147483647 - 0.5

centres = [[draw() * 4 for _ in range(D)] for _ in range(5)]
x = np.array([[centres[i % 5][c] + draw() * (1 + c % 3) for c in range(D)] for i in range(N)], np.float32)
p = PCA(2, svd_solver="full").fit(x.astype(np.float64))
y = p.transform(x.astype(np.float64))
print("scikit-learn", sklearn.__version__)
print("pca", [float(v) for v in y[[0, 1, 399]].ravel()], [float(v) for v in p.explained_variance_ratio_])
print("trust", trustworthiness(x, x[:, :2], n_neighbors=5), trustworthiness(x, x[:, :2], n_neighbors=12))
for perplexity in (30, 5):
    t = TSNE(perplexity=perplexity, init="pca", random_state=0)
    e = t.fit_transform(x)
    print("tsne", perplexity, t.kl_divergence_, trustworthiness(x, e, n_neighbors=5))
