/* classify.c -- everything from the confusion matrix. */
#include "eval/metrics/classify.h"

#include <string.h>

int mg_confusion_width(int classes) { return classes * (classes + 1); }

void mg_confusion_item(double *stats, int classes, int gold, int predicted) {
    MG_ASSERT(gold >= 0 && gold < classes && predicted < classes);
    memset(stats, 0, (size_t)mg_confusion_width(classes) * sizeof *stats);
    stats[gold * (classes + 1) + (predicted < 0 ? classes : predicted)] = 1;
}

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

static void add_weighted(mg_class_scores *to, const mg_class_scores *one, double weight) {
    to->precision += weight * one->precision;
    to->recall += weight * one->recall;
    to->f1 += weight * one->f1;
}

void mg_classify(const double *sum, int classes, mg_classification *out) {
    double hits = 0, all = 0, guessed = 0, there[MG_CLASSES], present = 0;
    *out = (mg_classification){ 0 };
    for (int c = 0; c < classes; c++) {
        double gold = 0, predicted = 0, hit = sum[c * (classes + 1) + c];
        for (int k = 0; k <= classes; k++) gold += sum[c * (classes + 1) + k];
        for (int k = 0; k < classes; k++) predicted += sum[k * (classes + 1) + c];
        out->of[c] = (mg_class_scores){ .precision = ratio(hit, predicted), .recall = ratio(hit, gold),
                                        .f1 = ratio(2 * hit, gold + predicted), .support = gold };
        there[c] = gold + predicted > 0;
        present += there[c];
        hits += hit;
        all += gold;
        guessed += predicted;
    }
    out->accuracy = ratio(hits, all);
    out->micro = (mg_class_scores){ .precision = ratio(hits, guessed), .recall = ratio(hits, all),
                                    .f1 = ratio(2 * hits, guessed + all), .support = all };
    out->macro.support = out->weighted.support = all;
    for (int c = 0; c < classes; c++) {
        add_weighted(&out->macro, &out->of[c], present > 0 ? there[c] / present : 0);
        add_weighted(&out->weighted, &out->of[c], ratio(out->of[c].support, all));
    }
}

double mg_classify_accuracy(const void *classes, const double *sum) {
    mg_classification c;
    mg_classify(sum, *(const int *)classes, &c);
    return 100 * c.accuracy;
}
double mg_classify_macro_f1(const void *classes, const double *sum) {
    mg_classification c;
    mg_classify(sum, *(const int *)classes, &c);
    return 100 * c.macro.f1;
}
double mg_classify_weighted_f1(const void *classes, const double *sum) {
    mg_classification c;
    mg_classify(sum, *(const int *)classes, &c);
    return 100 * c.weighted.f1;
}
