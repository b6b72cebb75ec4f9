"""A script as people write them on top of the reference's modules: one loop for gradients, one for features.

It stands for scripts that know nothing of this toolkit, so it uses only names that those modules have, takes
every image one by one, and draws from the global generators. Run by test_fork_script.py.
"""

import argparse
import copy
import os
import time

import numpy as np
import torch
import torch.nn as nn

from utils import (
    DiffAugment,
    ParamDiffAug,
    TensorDataset,
    epoch,
    evaluate_synset,
    get_daparam,
    get_dataset,
    get_eval_pool,
    get_loops,
    get_network,
    get_time,
    match_loss,
)


def main():
    parser = argparse.ArgumentParser(description='gradients or features, condensed the way forks do it')
    parser.add_argument('--method', type=str, default='DC', help='DC, DSA or DM')
    parser.add_argument('--dataset', type=str, default='Digits')
    parser.add_argument('--model', type=str, default='ConvNet')
    parser.add_argument('--ipc', type=int, default=10)
    parser.add_argument('--eval_mode', type=str, default='S')
    parser.add_argument('--num_eval', type=int, default=1)
    parser.add_argument('--epoch_eval_train', type=int, default=30)
    parser.add_argument('--Iteration', type=int, default=2)
    parser.add_argument('--outer_loop', type=int, default=None)
    parser.add_argument('--inner_loop', type=int, default=None)
    parser.add_argument('--lr_img', type=float, default=0.1)
    parser.add_argument('--lr_net', type=float, default=0.01)
    parser.add_argument('--batch_real', type=int, default=64)
    parser.add_argument('--batch_train', type=int, default=256)
    parser.add_argument('--dsa_strategy', type=str, default='None')
    parser.add_argument('--dis_metric', type=str, default='ours')
    parser.add_argument('--per_class', type=int, default=100, help='real images kept of each class')
    parser.add_argument('--data_path', type=str, default='data')
    parser.add_argument('--save_path', type=str, default='result')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    outer_loop, inner_loop = get_loops(args.ipc)
    args.outer_loop = outer_loop if args.outer_loop is None else args.outer_loop
    args.inner_loop = inner_loop if args.inner_loop is None else args.inner_loop
    args.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    args.dsa = args.method != 'DC' and args.dsa_strategy not in ('none', 'None')
    args.dsa_param = ParamDiffAug()
    args.dc_aug_param = None
    os.makedirs(args.save_path, exist_ok=True)

    channel, im_size, num_classes, class_names, mean, std, dst_train, dst_test, testloader = get_dataset(
        args.dataset, args.data_path)
    model_eval_pool = get_eval_pool(args.eval_mode, args.model, args.model)
    print(get_time(), 'evaluated on', model_eval_pool, 'with', args.dsa_param.__dict__)

    # the real images, as one float tensor
    images_all, labels_all, indices_class = [], [], [[] for _ in range(num_classes)]
    for i in range(len(dst_train)):
        if len(indices_class[dst_train[i][1]]) == args.per_class:
            continue
        indices_class[dst_train[i][1]].append(len(labels_all))
        images_all.append(torch.unsqueeze(dst_train[i][0], dim=0))
        labels_all.append(dst_train[i][1])
    images_all = torch.cat(images_all, dim=0).to(args.device)
    labels_all = torch.tensor(labels_all, dtype=torch.long, device=args.device)

    def get_images(c, n):
        chosen = np.random.permutation(indices_class[c])[:n]
        return images_all[chosen]

    # the synthetic images
    image_syn = torch.randn(size=(num_classes * args.ipc, channel, im_size[0], im_size[1]), dtype=torch.float,
                            requires_grad=True, device=args.device)
    label_syn = torch.tensor(np.array([np.ones(args.ipc) * c for c in range(num_classes)]), dtype=torch.long,
                             requires_grad=False, device=args.device).view(-1)
    for c in range(num_classes):
        image_syn.data[c * args.ipc:(c + 1) * args.ipc] = get_images(c, args.ipc).detach().data
    started_from = copy.deepcopy(image_syn.detach()).cpu()
    optimizer_img = torch.optim.SGD([image_syn, ], lr=args.lr_img, momentum=0.5)
    criterion = nn.CrossEntropyLoss().to(args.device)

    def augmented_pair(img_real, img_syn):
        if not args.dsa:
            return img_real, img_syn
        seed = int(time.time() * 1000) % 100000
        return (DiffAugment(img_real, args.dsa_strategy, seed=seed, param=args.dsa_param),
                DiffAugment(img_syn, args.dsa_strategy, seed=seed, param=args.dsa_param))

    def gradient_step(net, net_parameters):
        loss = torch.tensor(0.0).to(args.device)
        for c in range(num_classes):
            img_real = get_images(c, args.batch_real)
            lab_real = torch.ones((img_real.shape[0],), device=args.device, dtype=torch.long) * c
            img_syn = image_syn[c * args.ipc:(c + 1) * args.ipc]
            lab_syn = torch.ones((args.ipc,), device=args.device, dtype=torch.long) * c
            img_real, img_syn = augmented_pair(img_real, img_syn)
            gw_real = torch.autograd.grad(criterion(net(img_real), lab_real), net_parameters)
            gw_real = [g.detach().clone() for g in gw_real]
            gw_syn = torch.autograd.grad(criterion(net(img_syn), lab_syn), net_parameters, create_graph=True)
            loss += match_loss(gw_syn, gw_real, args)
        optimizer_img.zero_grad()
        loss.backward()
        optimizer_img.step()
        return loss.item() / num_classes

    def feature_step(net):
        embed = net.module.embed if torch.cuda.device_count() > 1 else net.embed
        loss = torch.tensor(0.0).to(args.device)
        for c in range(num_classes):
            img_real, img_syn = augmented_pair(get_images(c, args.batch_real),
                                               image_syn[c * args.ipc:(c + 1) * args.ipc])
            output_real = embed(img_real).detach()
            output_syn = embed(img_syn)
            loss += torch.sum((torch.mean(output_real, dim=0) - torch.mean(output_syn, dim=0)) ** 2)
        optimizer_img.zero_grad()
        loss.backward()
        optimizer_img.step()
        return loss.item() / num_classes

    for it in range(args.Iteration):
        net = get_network(args.model, channel, num_classes, im_size)
        net.train()
        if args.method == 'DM':
            for param in list(net.parameters()):
                param.requires_grad = False
            loss_avg = feature_step(net)
        else:
            net_parameters = list(net.parameters())
            optimizer_net = torch.optim.SGD(net.parameters(), lr=args.lr_net)
            loss_avg = 0
            for ol in range(args.outer_loop):
                for module in net.modules():
                    assert 'BatchNorm' not in module._get_name()
                loss_avg += gradient_step(net, net_parameters) / args.outer_loop
                if ol == args.outer_loop - 1:
                    break
                dst_syn = TensorDataset(copy.deepcopy(image_syn.detach()), copy.deepcopy(label_syn.detach()))
                trainloader = torch.utils.data.DataLoader(dst_syn, batch_size=args.batch_train, shuffle=True,
                                                          num_workers=0)
                for _ in range(args.inner_loop):
                    epoch('train', trainloader, net, optimizer_net, criterion, args, aug=args.dsa)
        print(f'{get_time()} iter = {it:04d}, loss = {loss_avg:.4f}')

    accs_all_exps = {key: [] for key in model_eval_pool}
    for model_eval in model_eval_pool:
        if not args.dsa:
            args.dc_aug_param = get_daparam(args.dataset, args.model, model_eval, args.ipc)
        for it_eval in range(args.num_eval):
            net_eval = get_network(model_eval, channel, num_classes, im_size).to(args.device)
            images, labels = copy.deepcopy(image_syn.detach()), copy.deepcopy(label_syn.detach())
            _, acc_train, acc_test = evaluate_synset(it_eval, net_eval, images, labels, testloader, args)
            accs_all_exps[model_eval].append(acc_test)

    file_name = f'res_{args.method}_{args.dataset}_{args.model}_{args.ipc}ipc.pt'
    torch.save({'data': [[copy.deepcopy(image_syn.detach().cpu()), copy.deepcopy(label_syn.detach().cpu())]],
                'accs_all_exps': accs_all_exps, 'start': started_from},
               os.path.join(args.save_path, file_name))


if __name__ == '__main__':
    main()
