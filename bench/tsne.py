# tsne.py -- scikit-learn's t-SNE on the matrix that bench/tsne.c takes: time, divergence, trustworthiness.
#
#     python -P bench/tsne.py FILE ROWS COLUMNS [PERPLEXITY [MAX_ITER]]
#     python -P bench/tsne.py digits FILE            write scikit-learn's 1,797 digits there, 64 columns
import sys, time
import numpy as np
from sklearn.manifold import TSNE, trustworthiness

if sys.argv[1] == "digits":
    from sklearn.datasets import load_digits
    load_digits().data.astype(np.float32).tofile(sys.argv[2])
    sys.exit()
n, d = int(sys.argv[2]), int(sys.argv[3])
perplexity = float(sys.argv[4]) if len(sys.argv) > 4 else 30
max_iter = int(sys.argv[5]) if len(sys.argv) > 5 else 1000
x = np.fromfile(sys.argv[1], np.float32).reshape(n, d)
t = time.time()
m = TSNE(perplexity=perplexity, max_iter=max_iter, init="pca", learning_rate="auto", random_state=0, n_jobs=-1)
y = m.fit_transform(x)
seconds = time.time() - t
print(f"{n} x {d}: KL {m.kl_divergence_:.5f}, trustworthiness {trustworthiness(x, y, n_neighbors=5):.5f}, {m.n_iter_} rounds, {seconds:.2f} s")
