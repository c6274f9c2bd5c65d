/* rope.cu -- rotary positions, in place.
 *
 * A thread keeps the angles of eight neighbouring columns and turns them in a few heads of its row. */
#include "backend/cuda/vec.h"

enum { THREADS = 128, HEADS = 4 };

template <class V, int W>
static __global__ void __launch_bounds__(THREADS)
    rope(V x, const int32_t *pos, const float *cosine, const float *sine, int64_t rows, int heads, int hd, int half, bool back) {
    int     pieces = half / W, spans = (heads + HEADS - 1) / HEADS;
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= rows * spans * pieces) return;
    int     piece = (int)(i % pieces), span = (int)(i / pieces % spans);
    int64_t row = i / pieces / spans, angle = (int64_t)pos[row] * half + piece * W;
    float   c[W], s[W];
    typed<const float>{ cosine }.get(angle, c);
    typed<const float>{ sine }.get(angle, s);
#pragma unroll
    for (int k = 0; k < W; k++) s[k] = back ? -s[k] : s[k];
    int     last = (span + 1) * HEADS < heads ? (span + 1) * HEADS : heads;
    int64_t at = (row * heads + (int64_t)span * HEADS) * hd + piece * W;
#pragma unroll 2
    for (int head = span * HEADS; head < last; head++, at += hd) {
        float p[W], q[W];
        x.get(at, p);
        x.get(at + half, q);
#pragma unroll
        for (int k = 0; k < W; k++) {
            float turned = p[k] * c[k] - q[k] * s[k];
            q[k] = q[k] * c[k] + p[k] * s[k];
            p[k] = turned;
        }
        x.put(at, p);
        x.put(at + half, q);
    }
}

void mg_cuda_rope(mg_rope_args a) {
    int heads = (int)(a.x.cols / a.hd), half = a.rot / 2;
    if (!a.x.rows || !half) return;
    bool eights = half % 8 == 0 && a.hd % 8 == 0 && mg_on16(a.cos) && mg_on16(a.sin);
    mg_with_views({ a.x }, eights, [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        int64_t       n = a.x.rows * ((heads + HEADS - 1) / HEADS) * (half / W);
        rope<V, W><<<mg_blocks(n, THREADS), THREADS, 0, mg_cuda_stream>>>(V::of(a.x), a.pos, a.cos, a.sin, a.x.rows, heads,
                                                                          a.hd, half, a.back);
        MG_CUDA_LAUNCHED("rope");
    });
}
